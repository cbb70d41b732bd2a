"""Which header carries the credential (BYPASSES 44, 45)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontiergate.domain.reason import Reason
from frontiergate.errors import CredentialError
from frontiergate.identity.credential import CREDENTIAL_HEADERS, read

Fields = list[tuple[bytes, bytes]]


def refusal(fields: Fields, extra: bytes | None = None) -> Reason:
    with pytest.raises(CredentialError) as caught:
        read(fields, extra)
    return caught.value.reason


@pytest.mark.parametrize("scheme", [b"Bearer", b"bearer", b"BEARER", b"bEaReR"])
def test_a_bearer_token_is_read_whatever_the_case_of_its_scheme(scheme: bytes) -> None:
    assert read([(b"host", b"x"), (b"authorization", scheme + b" abc.def-_~+/==")]) == b"abc.def-_~+/=="


@pytest.mark.parametrize("header", sorted(CREDENTIAL_HEADERS - {b"authorization"}))
def test_a_key_header_is_read(header: bytes) -> None:
    assert read([(header, b"fg_abc")]) == b"fg_abc"


def test_the_configured_header_is_read_and_others_are_not() -> None:
    assert read([(b"x-identity", b"abc")], b"x-identity") == b"abc"
    assert refusal([(b"x-identity", b"abc")]) is Reason.CALLER_CREDENTIAL_MISSING


def test_no_credential_is_missing() -> None:
    assert refusal([(b"accept", b"*/*")]) is Reason.CALLER_CREDENTIAL_MISSING


def test_a_name_with_an_underscore_is_not_a_credential_header() -> None:
    assert refusal([(b"x_api_key", b"abc")]) is Reason.CALLER_CREDENTIAL_MISSING


def test_equal_credentials_in_two_headers_are_one() -> None:
    assert read([(b"authorization", b"Bearer abc"), (b"x-api-key", b"abc")]) == b"abc"


@pytest.mark.parametrize(
    "fields",
    [
        [(b"authorization", b"Bearer abc"), (b"x-api-key", b"abd")],
        [(b"api-key", b"abc"), (b"x-goog-api-key", b"abd")],
        [(b"authorization", b"Bearer abc"), (b"authorization", b"Bearer abc")],
        [(b"x-api-key", b"abc"), (b"x-api-key", b"abc")],
    ],
)
def test_two_credentials_are_ambiguous(fields: Fields) -> None:
    assert refusal(fields) is Reason.CALLER_CREDENTIAL_AMBIGUOUS


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Bearer  abc",
        b"Bearer\tabc",
        b"Bearer abc ",
        b"Bearer abc def",
        b"Bearer abc\t",
        b"Bearer abc,def",
        b"Bearer abc, Bearer def",
        b"Bearer a=bc",
        b"Bearer ===",
        b"Bearer \xe9",
        b"Bearer a\x00b",
        b"Basic YTpi",
        b"Digest username=x",
        b"abc",
    ],
)
def test_an_authorization_that_is_not_one_bearer_token_is_invalid(value: bytes) -> None:
    assert refusal([(b"authorization", value)]) is Reason.CALLER_CREDENTIAL_INVALID


@pytest.mark.parametrize("value", [b"", b"Bearer abc", b"a b", b"a,b", b"a\tb", b"x" * 8193])
def test_a_key_that_is_not_one_token_is_invalid(value: bytes) -> None:
    assert refusal([(b"x-api-key", value)]) is Reason.CALLER_CREDENTIAL_INVALID


def test_a_bad_credential_is_not_saved_by_a_good_one() -> None:
    assert refusal([(b"x-api-key", b"abc"), (b"authorization", b"Basic YTpi")]) is Reason.CALLER_CREDENTIAL_INVALID


def test_no_message_holds_the_credential() -> None:
    with pytest.raises(CredentialError) as caught:
        read([(b"authorization", b"Bearer sesame sesame")])
    assert "sesame" not in str(caught.value)


@given(st.lists(st.tuples(st.sampled_from([*sorted(CREDENTIAL_HEADERS), b"host"]), st.binary(max_size=40)), max_size=4))
def test_any_fields_give_one_token_or_a_credential_error(fields: Fields) -> None:
    try:
        credential = read(fields)
    except CredentialError:
        return
    assert credential
    assert not set(credential) & set(b" \t,\r\n\x00")
