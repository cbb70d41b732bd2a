"""BYPASSES 10-15: encodings, types, multipart, queries, paths and methods: what is not exactly an operation is none."""

import gzip
import json
import zlib

import pytest

from tests.bypass.probe import CHAT, JSON, MESSAGES, Probe

OPEN = json.dumps({"model": "gpt-open", "messages": []}).encode()
TYPE, ENCODING, OPERATION = "caller_content_type_unsupported", "caller_content_encoding_unsupported", "caller_operation_unknown"
MALFORMED, QUERY, UNKNOWN = "caller_request_malformed", "caller_query_unexpected", "caller_model_unknown"


# -- 10 content codings


@pytest.mark.parametrize(
    "coding", ["gzip", "x-gzip", "br", "deflate", "zstd", "compress", "GZIP", "gzip, identity", "identity, gzip", "aes128gcm", "chunked"]
)
@pytest.mark.parametrize("data", [OPEN, gzip.compress(OPEN), zlib.compress(OPEN)], ids=["plain", "gzip", "zlib"])
def test_10_a_content_coding_is_refused_whatever_the_bytes_are(probe: Probe, coding: str, data: bytes) -> None:
    probe.refused(probe.post(data, f"Content-Encoding: {coding}"), 415, ENCODING)


@pytest.mark.parametrize(
    "fields", [("Content-Encoding: gzip", "Content-Encoding: identity"), ("Content-Encoding: identity", "Content-Encoding: gzip")]
)
def test_10_one_of_two_content_codings_is_enough_to_be_refused(probe: Probe, fields: tuple[str, str]) -> None:
    probe.refused(probe.post(OPEN, *fields), 415, ENCODING)


def test_10_compressed_bytes_that_do_not_say_so_are_no_json(probe: Probe) -> None:
    probe.refused(probe.post(gzip.compress(OPEN)), 400, "caller_body_unreadable")


# -- 11 content types


@pytest.mark.parametrize(
    "content_type",
    [
        *(
            "text/plain",
            "text/json",
            "application/x-www-form-urlencoded",
            "application/jsonl",
            "application/x-ndjson",
            "application/json+x",
            "*/*",
            "",
        ),
        *("application/json; charset=utf-16", "application/json;charset=latin-1", "application/json; charset=utf-8; charset=utf-16"),
        *(
            "application/json; boundary=x",
            "application/json, text/plain",
            "application/json;",
            "application/ json",
            "application/json\xa0",
            "json",
        ),
        *(
            "application/vnd.api+json",
            "multipart/form-data; boundary=x",
            'application/json; charset="utf-16"',
            'application/json; a="; charset=utf-8"',
        ),
    ],
)
def test_11_another_content_type_is_refused(probe: Probe, content_type: str) -> None:
    probe.refused(probe.post(OPEN, f"Content-Type: {content_type}", typed=False), 415, TYPE)


def test_11_no_content_type_is_refused(probe: Probe) -> None:
    probe.refused(probe.post(OPEN, typed=False), 415, TYPE)


@pytest.mark.parametrize("second", ["application/json", "text/plain", "multipart/form-data; boundary=x"])
def test_11_two_content_types_are_refused(probe: Probe, second: str) -> None:
    probe.refused(probe.post(OPEN, f"Content-Type: {second}"), 415, TYPE)
    probe.refused(probe.post(OPEN, f"Content-Type: {second}", JSON, typed=False), 415, TYPE)


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON", "application/json; charset=utf-8", "application/json;charset=UTF-8"]
)
def test_11_json_in_utf_8_passes_as_plain_json(probe: Probe, content_type: str) -> None:
    assert probe.forwarded(probe.post(OPEN, f"Content-Type: {content_type}", typed=False)).header("content-type") == "application/json"


# -- 12 multipart


def part(disposition: str, value: str, *fields: str, end: str = "\r\n") -> str:
    return end.join([f"Content-Disposition: form-data; {disposition}", *fields, "", value]) + end


MULTIPART = {
    "field twice": "--x\r\n" + part('name="model"', "gpt-open") + "--x\r\n" + part('name="model"', "gpt-frontier") + "--x--\r\n",
    "file name": "--x\r\n" + part('name="model"; filename="m"', "gpt-open") + "--x--\r\n",
    "rfc 2231": "--x\r\n" + part("name*=utf-8''model", "gpt-open") + "--x--\r\n",
    "quoted pair": "--x\r\n" + part('name="mod\\el"', "gpt-open") + "--x--\r\n",
    "line feeds": "--x\n" + part('name="model"', "gpt-open", end="\n") + "--x--\n",
    "preamble": "model=gpt-frontier\r\n--x\r\n" + part('name="model"', "gpt-open") + "--x--\r\nepilogue",
    "nested": "--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n" + part('name="model"', "gpt-open") + "--y--\r\n--x--\r\n",
    "boundary prefix": "--xx\r\n" + part('name="model"', "gpt-frontier") + "--x\r\n" + part('name="model"', "gpt-open") + "--x--\r\n",
    "no end": "--x\r\n" + part('name="model"', "gpt-open"),
    "transfer encoding": "--x\r\n" + part('name="model"', "Z3B0LW9wZW4=", "Content-Transfer-Encoding: base64") + "--x--\r\n",
    "charset part": "--x\r\n" + part('name="_charset_"', "utf-16") + "--x\r\n" + part('name="model"', "gpt-open") + "--x--\r\n",
}


@pytest.mark.parametrize("trick", MULTIPART)
def test_12_no_operation_reads_multipart_so_all_of_it_is_refused(probe: Probe, trick: str) -> None:
    body, typed = MULTIPART[trick].encode(), "Content-Type: multipart/form-data; boundary=x"
    probe.refused(probe.post(body, typed, typed=False), 415, TYPE)
    probe.refused(probe.post(body), 400, "caller_body_unreadable")
    for path in ("/v1/images/edits", "/v1/audio/transcriptions", "/v1/files", "/v1/videos"):
        probe.refused(probe.post(body, typed, typed=False, path=path), 404, OPERATION)


def test_12_a_two_gigabyte_file_before_the_model_part_is_refused_at_its_head(probe: Probe) -> None:
    start = (
        probe.head("Content-Type: multipart/form-data; boundary=x", f"Content-Length: {2 << 30}")
        + b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
    )
    probe.refused(start, 415, TYPE)


# -- 13 queries


@pytest.mark.parametrize(
    "query",
    [
        "model=gpt-open",
        "model=gpt-open&model=gpt-frontier",
        "mod%65l=gpt-open",
        "model=gpt%2dfrontier",
        "api-version=1",
        "key=x",
        "a",
        "=",
        "&",
        "model[]=a",
        "beta=true",
    ],
)
def test_13_a_query_that_the_operation_does_not_have_is_refused(probe: Probe, query: str) -> None:
    probe.refused(probe.post(OPEN, path=f"{CHAT}?{query}"), 400, QUERY)


@pytest.mark.parametrize(
    "query",
    [
        "beta=true&model=claude-frontier",
        "beta=true&beta=false",
        "beta=1;model=claude-frontier",
        "b%65ta=true",
        "beta=true&",
        "?beta=true",
        "beta=true#x",
    ],
)
def test_13_a_known_parameter_covers_no_other(probe: Probe, query: str) -> None:
    probe.refused(probe.post(OPEN, path=f"{MESSAGES}?{query}"), (400, 404), (QUERY, OPERATION, MALFORMED))


def test_13_a_query_that_the_operation_has_passes_as_it_came(probe: Probe) -> None:
    assert (
        probe.forwarded(probe.post({"model": "gpt-open", "max_tokens": 1}, path=f"{MESSAGES}?beta=true")).target == f"{MESSAGES}?beta=true"
    )


@pytest.mark.parametrize("name", ["openai%2Fgpt-open", "gpt%2dopen", "openai/gpt-open"])
def test_13_a_percent_encoded_name_in_a_path_is_decoded_once_and_answered_by_the_gate(probe: Probe, name: str) -> None:
    reply = probe.ask(probe.head(method="GET", path=f"/v1/models/{name}"))
    assert (reply.status, reply.json["id"]) == (200, "openai/gpt-open")
    probe.nothing_sent()


@pytest.mark.parametrize(
    "name",
    [
        "gpt%252dopen",
        "openai%252Fgpt-open",
        "gpt-open%00",
        "gpt%2",
        "gpt%zzopen",
        "%c0%a7gpt-open",
        "gpt-open%2f..%2f",
        "gpt-open/",
        "../models/gpt-open",
        "gpt-open;x",
        "%67pt-frontier",
    ],
)
def test_13_a_name_in_a_path_that_is_not_that_of_a_model_for_the_caller_is_unknown(probe: Probe, name: str) -> None:
    probe.refused(probe.head(method="GET", path=f"/v1/models/{name}", token="mallory"), (400, 404), (UNKNOWN, OPERATION))


# -- 14 paths


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/v1%2fchat/completions",
            "/v1/chat%2Fcompletions",
            "/v1/chat/%63ompletions",
            "/%2e%2e/v1/chat/completions",
            "/v1/x/%2e%2e/chat/completions",
        ),
        *(
            "//v1/chat/completions",
            "/v1//chat/completions",
            "/v1/./chat/completions",
            "/v1/x/../chat/completions",
            "/./v1/chat/completions",
        ),
        *(
            "/v1/chat/completions;x",
            "/v1/chat;x/completions",
            "/v1/chat/completions;jsessionid=1",
            "/v1/chat\\completions",
            "\\v1\\chat\\completions",
        ),
        *(
            "/v1/chat/completions/",
            "/v1/chat/completions//",
            "/V1/chat/completions",
            "/v1/Chat/Completions",
            "/v1/chat/completions%20",
            "/v1/chat/completions%00",
        ),
        *(
            "/v1/chat%252fcompletions",
            "/v1/chat/completions#x",
            "/v1/chat/completions#?model=x",
            "/v1/chat/completions%3Fbeta=true",
            "/v1/chat/completions%23",
        ),
        *(
            "/v1/chat/completions.json",
            "/v1/chat/completions:x",
            "v1/chat/completions",
            "*",
            "",
            "/",
            "?",
            "/v1/chat",
            "/v1/completions/chat/completions",
        ),
        *(
            "/v1/chat/completions/../../files",
            "/v1/models/../files",
            "/v1/models/..%2ffiles",
            "/openai/deployments/gpt-open/chat/completions",
            "/openai/v1/chat/completions",
        ),
        *(
            "/v1/files",
            "/v1/batches",
            "/v1/assistants",
            "/v1/threads",
            "/v1/fine_tuning/jobs",
            "/v1/messages/batches",
            "/v1/realtime?model=gpt-open",
            "/v1/complete",
        ),
    ],
)
def test_14_a_path_in_any_other_spelling_is_unknown(probe: Probe, path: str) -> None:
    probe.refused(probe.post(OPEN, path=path), (400, 404), (OPERATION, MALFORMED))


@pytest.mark.parametrize(
    "target",
    [
        *(
            "http://gate.example/v1/chat/completions",
            "https://api.openai.com/v1/chat/completions",
            "http://gate.example@evil.example/v1/chat/completions",
        ),
        *(
            "HTTP://GATE.EXAMPLE/v1/chat/completions",
            "http:///v1/chat/completions",
            "http:/v1/chat/completions",
            "//evil.example/v1/chat/completions",
        ),
        *("gate.example:80", "file:///v1/chat/completions", "ftp://gate.example/v1/chat/completions", "http://gate.example"),
    ],
)
def test_14_a_target_with_an_authority_is_refused(probe: Probe, target: str) -> None:
    probe.refused(probe.post(OPEN, path=target), (400, 404), (OPERATION, MALFORMED))


@pytest.mark.parametrize(
    "byte", [b"\0", b"\x01", b"\x0b", b"\x7f", b"\x80", b"\xc0\xaf", b"\xc3\xa9", b"\xff", b"\xe2\x88\x95", b"\xef\xbc\x8f", b"\t"]
)
def test_14_a_target_with_raw_bytes_is_refused(probe: Probe, byte: bytes) -> None:
    for path in (b"/v1/chat/completions" + byte, b"/v1" + byte + b"/chat/completions", b"/v1/chat" + byte + b"completions"):
        probe.refused(probe.post(OPEN, path="@").replace(b"POST @", b"POST " + path), (400, 404), (OPERATION, MALFORMED))


@pytest.mark.parametrize(
    "line", [b"POST  /v1/chat/completions HTTP/1.1", b"POST /v1/chat/completions  HTTP/1.1", b"POST /v1/chat/completions x HTTP/1.1"]
)
def test_14_spaces_in_a_request_line_are_refused_or_not_passed_on(probe: Probe, line: bytes) -> None:
    reply = probe.ask(probe.post(OPEN).replace(b"POST /v1/chat/completions HTTP/1.1", line))
    if reply.status == 200:
        assert probe.sent(1)[0].raw.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    else:
        probe.is_refusal(reply, (400, 404), (OPERATION, MALFORMED))


# -- 15 methods


@pytest.mark.parametrize(
    "name",
    [
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Original-Method",
        "X-Forwarded-Prefix",
        "X-Forwarded-Path",
    ],
)
@pytest.mark.parametrize("value", ["GET", "DELETE", "/v1/files"])
def test_15_fields_that_change_method_or_path_behind_the_gate_do_not_pass(probe: Probe, name: str, value: str) -> None:
    received = probe.forwarded(probe.post(OPEN, f"{name}: {value}"))
    assert (received.method, received.target, received.header(name.lower())) == ("POST", CHAT, None)


@pytest.mark.parametrize(
    "method",
    [
        "GET",
        "HEAD",
        "OPTIONS",
        "PUT",
        "PATCH",
        "DELETE",
        "TRACE",
        "QUERY",
        "PROPFIND",
        "CONNECT",
        "PRI",
        "SOURCE",
        "post",
        "Post",
        "POST\t",
        "FOO",
        "M-SEARCH",
    ],
)
def test_15_another_method_is_refused(probe: Probe, method: str) -> None:
    with probe.line() as line:
        line.send(probe.post(OPEN, method=method))
        assert line.read_until(b"\r\n\r\n").split(b" ")[1] in {b"400", b"404"}
    probe.nothing_sent()


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "POST", "DELETE", "CONNECT"])
def test_15_the_lists_of_models_are_only_read(probe: Probe, method: str) -> None:
    with probe.line() as line:
        line.send(probe.head("Content-Length: 0", method=method, path="/v1/models"))
        assert line.read_until(b"\r\n\r\n").split(b" ")[1] in {b"400", b"404"}
    probe.nothing_sent()


def test_15_connect_to_another_host_is_refused_and_no_tunnel(probe: Probe) -> None:
    with probe.line() as line:
        line.send(probe.head(method="CONNECT", path="127.0.0.1:9") + probe.post(OPEN))
        assert line.answer().status in {400, 404}
        assert line.ended()
    probe.nothing_sent()


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/gpt-open", CHAT])
def test_15_get_with_a_body_is_refused(probe: Probe, path: str) -> None:
    probe.refused(probe.post(OPEN, method="GET", path=path), (400, 404), (MALFORMED, OPERATION))
