"""What the gate itself says: refusals and model lists, as whole HTTP messages (DESIGN 5, outcomes; P7)."""

import string

from frontiergate.dialects.operation import Dialect
from frontiergate.dialects.refusal import Refusal
from frontiergate.wire import http1

_URL_CHARACTERS = frozenset(string.ascii_letters + string.digits + "-._~:/?#[]@!$&'()*+,;=%")
_RETRY_IS_USELESS = ("policy_", "vetting_", "caller_", "operator_")


def refusal(dialect: Dialect, refusal: Refusal, verdict: str, *, at: float, close: bool, head_only: bool) -> bytes:
    """The refusal in the dialect's shape; of it only the head where HEAD was asked (RFC 9110 section 9.3.2).

    SDKs retry 408, 409, 429 and 5xx unless told not to (DIALECTS.md).
    """
    fields = [
        ("content-type", "application/json"),
        ("cache-control", "no-store"),
        ("x-gate-request-id", refusal.request_id),
        ("x-gate-verdict", verdict),
        ("x-gate-reason", refusal.reason.value),
    ]
    if refusal.reason.value.startswith(_RETRY_IS_USELESS):
        fields.append(("x-should-retry", "false"))
    if refusal.case is not None:
        fields.append(("x-gate-case", refusal.case))
    if refusal.retry_after is not None:
        fields.append(("retry-after", str(refusal.retry_after)))
    if refusal.status == 451 and refusal.docs_url and _URL_CHARACTERS.issuperset(refusal.docs_url):
        fields.append(("link", f'<{refusal.docs_url}>; rel="blocked-by"'))  # RFC 7725 section 4
    if refusal.status == 401:
        fields.append(("www-authenticate", 'Bearer realm="frontiergate"'))  # RFC 9110 section 11.6.1
    body = dialect.refuse(refusal)
    message = http1.response(refusal.status, fields, body, at=at, close=close)
    return message.removesuffix(body) if head_only else message


def listing(body: bytes, request_id: str, *, at: float, close: bool) -> bytes:
    """A list of models, or one model, that the gate answers from the catalogue for this caller only."""
    fields = [
        ("content-type", "application/json"),
        ("cache-control", "private, no-store"),
        ("x-gate-request-id", request_id),
        ("x-gate-verdict", "forward"),
    ]
    return http1.response(200, fields, body, at=at, close=close)
