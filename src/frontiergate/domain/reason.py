"""The closed enumeration of reasons; the prefix says who must act (DESIGN 5, 8)."""

import enum


class Reason(enum.StrEnum):
    """Why a request was not simply forwarded. Published: a member is never renamed."""

    CALLER_CREDENTIAL_MISSING = "caller_credential_missing"
    CALLER_CREDENTIAL_INVALID = "caller_credential_invalid"
    CALLER_CREDENTIAL_EXPIRED = "caller_credential_expired"
    CALLER_CREDENTIAL_AMBIGUOUS = "caller_credential_ambiguous"
    CALLER_OPERATION_UNKNOWN = "caller_operation_unknown"
    CALLER_QUERY_UNEXPECTED = "caller_query_unexpected"
    CALLER_MODEL_MISSING = "caller_model_missing"
    CALLER_MODEL_UNKNOWN = "caller_model_unknown"
    CALLER_MODEL_AMBIGUOUS = "caller_model_ambiguous"
    CALLER_BODY_UNREADABLE = "caller_body_unreadable"
    CALLER_BODY_TOO_LARGE = "caller_body_too_large"
    CALLER_CONTENT_TYPE_UNSUPPORTED = "caller_content_type_unsupported"
    CALLER_CONTENT_ENCODING_UNSUPPORTED = "caller_content_encoding_unsupported"
    CALLER_REQUEST_MALFORMED = "caller_request_malformed"
    CALLER_HEAD_TOO_LARGE = "caller_head_too_large"
    CALLER_TOO_SLOW = "caller_too_slow"
    CALLER_GONE = "caller_gone"

    POLICY_WITHDRAWN = "policy_withdrawn"
    POLICY_CLOSED = "policy_closed"  # require: never
    POLICY_NATIONALITY = "policy_nationality"
    POLICY_US_PERSON = "policy_us_person"
    POLICY_RESIDENCE = "policy_residence"
    POLICY_LOCATION = "policy_location"
    POLICY_ORGANISATION = "policy_organisation"
    POLICY_ORGANISATION_COUNTRY = "policy_organisation_country"
    POLICY_NETWORK = "policy_network"
    POLICY_COHORT = "policy_cohort"

    VETTING_REQUIRED = "vetting_required"
    VETTING_PENDING = "vetting_pending"
    VETTING_DENIED = "vetting_denied"

    OPERATOR_PAUSED = "operator_paused"

    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    UPSTREAM_BROKE = "upstream_broke"
    UPSTREAM_TOO_SLOW = "upstream_too_slow"

    GATE_POLICY_STALE = "gate_policy_stale"
    GATE_STORE_UNAVAILABLE = "gate_store_unavailable"
    GATE_IDENTITY_UNAVAILABLE = "gate_identity_unavailable"
    GATE_OVERLOADED = "gate_overloaded"
    GATE_DRAINING = "gate_draining"
    GATE_FAULT = "gate_fault"
