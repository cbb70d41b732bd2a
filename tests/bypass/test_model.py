"""BYPASSES 1-9: the model in the body. What the gate read is what the upstream gets, or nothing (P1)."""

import json

import pytest

from tests.bypass.probe import MESSAGES, Probe
from tests.fixtures.upstream import Received, document

MISSING, UNKNOWN, AMBIGUOUS, UNREADABLE = "caller_model_missing", "caller_model_unknown", "caller_model_ambiguous", "caller_body_unreadable"


def exactly(received: Received, body: bytes) -> None:
    """The upstream got the body byte for byte, once, under the gate's own framing."""
    assert received.body == body
    assert [value for name, value in received.headers if name.lower() == "content-length"] == [str(len(body))]
    assert all(name.lower() != "transfer-encoding" for name, _ in received.headers)


# -- 1 duplicate keys


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"gpt-open","model":"gpt-frontier"}',
        b'{"model":"gpt-frontier","model":"gpt-open"}',
        b'{"model":"gpt-open","messages":[],"model":"gpt-open"}',
        b'{"model":null,"model":"gpt-open"}',
        b'{"model":"gpt-open","fallbacks":[{"model":"gpt-open","model":"gpt-frontier"}]}',
        b'{"model":"gpt-open","models":["gpt-open"],"models":["gpt-frontier"]}',
    ],
)
def test_01_a_duplicate_key_that_names_a_model_is_refused(probe: Probe, body: bytes) -> None:
    probe.refused(probe.post(body), 400, AMBIGUOUS)


def test_01_any_other_duplicate_key_is_refused_too(probe: Probe) -> None:
    probe.refused(probe.post(b'{"model":"gpt-open","n":1,"n":2}'), 400, UNREADABLE)


def test_01_a_duplicate_key_is_refused_in_the_other_dialect_too(probe: Probe) -> None:
    probe.refused(probe.post(b'{"model":"gpt-open","model":"claude-frontier"}', path=MESSAGES), 400, AMBIGUOUS)


# -- 2 escaped keys


@pytest.mark.parametrize(
    "body",
    [
        rb'{"\u006dodel":"gpt-frontier","model":"gpt-open"}',
        rb'{"model":"gpt-open","\u006dodel":"gpt-frontier"}',
        rb'{"model":"gpt-open","mode\u006C":"gpt-frontier"}',
        rb'{"model":"gpt-open","\u004dodel":"gpt-frontier"}',
    ],
)
def test_02_an_escaped_key_beside_the_plain_one_is_refused(probe: Probe, body: bytes) -> None:
    probe.refused(probe.post(body), 400, AMBIGUOUS)


def test_02_an_escaped_key_alone_is_the_model_that_every_parser_reads(probe: Probe) -> None:
    body = rb'{"\u006dod\u0065l":"gpt\u002dfrontier","messages":[]}'
    probe.refused(probe.post(body, token="mallory"), 451, "policy_us_person")
    exactly(probe.forwarded(probe.post(body)), body)


# -- 3 key case


@pytest.mark.parametrize("key", ["Model", "MODEL", "mOdel", "ｍodel", "modeI\u0307".lower()])
def test_03_a_key_in_another_case_is_not_the_model(probe: Probe, key: str) -> None:
    probe.refused(probe.post({key: "gpt-open"}), 400, (MISSING, AMBIGUOUS))


@pytest.mark.parametrize("key", ["Model", "MODEL", "ｍodel", "Models", "FALLBACKS", "Engine"])
def test_03_a_key_in_another_case_beside_the_model_is_refused(probe: Probe, key: str) -> None:
    probe.refused(probe.post({"model": "gpt-open", key: "gpt-frontier"}), 400, AMBIGUOUS)


# -- 4 nested only


@pytest.mark.parametrize(
    "body",
    [{"request": {"model": "gpt-open"}}, {"messages": [{"model": "gpt-open"}]}, {"extra": [["model", "gpt-open"]]}, {}, {"messages": []}],
)
def test_04_a_model_that_is_only_nested_is_no_model(probe: Probe, body: object) -> None:
    probe.refused(probe.post(body), 400, MISSING)


@pytest.mark.parametrize("body", [b'[{"model":"gpt-open"}]', b'"gpt-open"', b"null", b"1", b"true", b""])
def test_04_a_body_that_is_no_object_is_refused(probe: Probe, body: bytes) -> None:
    probe.refused(probe.post(body), 400, UNREADABLE)


# -- 5 types


@pytest.mark.parametrize("model", [None, "", 1, 1.5, True, False, [], ["gpt-open"], ["gpt-open", "gpt-frontier"], {"id": "gpt-open"}, {}])
def test_05_a_model_that_is_not_one_name_is_refused(probe: Probe, model: object) -> None:
    probe.refused(probe.post({"model": model, "messages": []}), 400, (MISSING, AMBIGUOUS))


# -- 6, 7, 8 names: exact or unknown


@pytest.mark.parametrize(
    "name",
    [
        *(" gpt-open", "gpt-open ", "gpt- open", "\tgpt-open", "gpt-open\n", "gpt-open\u00a0", "\u2003gpt-open"),
        *(
            "gpt-open\0",
            "\0gpt-open",
            "gpt-open\x7f",
            "gpt\x08-open",
            "gpt-open\u200b",
            "gpt\u200d-open",
            "\ufeffgpt-open",
            "gpt-open\u2060",
        ),
        *(
            "gpt\u2010open",
            "gpt\u2212open",
            "gpt－open",
            "ｇpt-open",
            "gpt-оpen",
            "ɡpt-open",
            "gpt-öpen",
            "gpt-o\u0308pen",
            "𝗀pt-open",
            "gpt-open\u0301",
        ),
    ],
)
def test_06_a_name_with_anything_added_or_confusable_is_unknown(probe: Probe, name: str) -> None:
    probe.refused(probe.post({"model": name}), 404, UNKNOWN)
    probe.refused(probe.post(json.dumps({"model": name}, ensure_ascii=False).encode()), (400, 404), (UNKNOWN, UNREADABLE))


@pytest.mark.parametrize(
    "name",
    [
        *(
            "GPT-OPEN",
            "Gpt-open",
            "OPENAI/gpt-open",
            "openai/GPT-OPEN",
            "gpt-open.",
            "gpt-open/",
            "/gpt-open",
            "openai//gpt-open",
            "./gpt-open",
        ),
        *(
            "gpt-open:latest",
            "gpt-open:free",
            "gpt-open@latest",
            "gpt-open#1",
            "gpt-open,gpt-frontier",
            "gpt-open|gpt-frontier",
            "gpt-open;",
            "gpt%2dopen",
        ),
        *(
            "openai\\gpt-open",
            "models/gpt-open",
            "openai:gpt-open",
            "gpt-open\\u0000",
            "gpt-ope",
            "gpt-open-2026-11-01",
            "../openai/gpt-open",
            "*",
            "gpt-*",
        ),
    ],
)
def test_07_a_name_in_another_spelling_is_unknown(probe: Probe, name: str) -> None:
    probe.refused(probe.post({"model": name}), 404, UNKNOWN)


@pytest.mark.parametrize("name", ["openai/gpt-frontier", "gpt-frontier", "gpt-frontier-2026-11-01"])
def test_08_every_name_of_a_model_is_judged_as_that_model(probe: Probe, name: str) -> None:
    body = {"model": name, "messages": []}
    probe.refused(probe.post(body, token="mallory"), 451, "policy_us_person")
    assert probe.forwarded(probe.post(body)).json["model"] == name


@pytest.mark.parametrize(
    "name", ["gpt-frontier-latest", "ft:gpt-open:org::id", "gpt-open:adapter", "gpt-open-lora", "deployments/gpt-open", "auto", "default"]
)
def test_08_a_name_that_the_catalogue_does_not_have_is_unknown_whatever_it_derives_from(probe: Probe, name: str) -> None:
    probe.refused(probe.post({"model": name}), 404, UNKNOWN)


def test_08_a_name_that_stands_for_different_models_in_two_dialects_is_judged_by_the_dialect_of_its_path(probe: Probe) -> None:
    body = {"model": "two-faced", "messages": [], "max_tokens": 1}
    probe.refused(probe.post(body, path=MESSAGES, token="mallory"), 451, "policy_us_person")
    probe.forwarded(probe.post(body, token="mallory"))
    # The mark of a dialect beside the path of another does not move the request there.
    probe.forwarded(probe.post(body, "anthropic-version: 2023-06-01", token="mallory"))
    probe.refused(probe.post({"model": "claude-frontier"}, "anthropic-version: 2023-06-01"), 404, UNKNOWN)
    probe.refused(probe.post({"model": "gpt-frontier"}, path=MESSAGES), 404, UNKNOWN)


# -- 9 what JSON is


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-8-sig", "utf-7", "cp037"])
def test_09_a_body_in_another_encoding_is_refused(probe: Probe, encoding: str) -> None:
    body = '{"model":"gpt-open","messages":[{"role":"user","content":"é~"}]}'.replace("é~", "" if encoding == "cp037" else "é~").encode(
        encoding
    )
    if encoding == "utf-7":
        body = body.replace(b"model", b"+AG0-odel")
    probe.refused(probe.post(body), 400, (UNREADABLE, MISSING))


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"gpt-open","x":"\xff"}',
        b'{"model":"gpt-open","x":"\xc0\xae"}',
        b'{"model":"gpt-open","x":"\xed\xa0\x80"}',
        b'{"model":"gpt-open","\xff":1}',
        rb'{"model":"gpt-open","x":"\ud800"}',
        rb'{"model":"gpt-open\ud800"}',
        b'{"model":"gpt-open","n":NaN}',
        b'{"model":"gpt-open","n":Infinity}',
        b'{"model":"gpt-open","n":-Infinity}',
        b'{"model":"gpt-open","n":01}',
        b'{"model":"gpt-open","n":+1}',
        b'{"model":"gpt-open","n":.5}',
        b'{"model":"gpt-open","n":0x10}',
        b'{"model":"gpt-open"}{"model":"gpt-frontier"}',
        b'{"model":"gpt-open"}\n{"model":"gpt-frontier"}',
        b'{"model":"gpt-open"},',
        b'{"model":"gpt-open"}\0',
        b'{"model":"gpt-open"}]',
        b'{"model":"gpt-open",}',
        b'{"model":"gpt-open","a":[1,]}',
        b'{"model":"gpt-open"/*,"model":"gpt-frontier"*/}',
        b'{"model":"gpt-open"//\n}',
        b'#\n{"model":"gpt-open"}',
        b"{'model':'gpt-open'}",
        b'{model:"gpt-open"}',
        b'{"model":"gpt-open","x":"a\nb"}',
        b'{"model":"gpt-open","x":"a\0b"}',
        rb'{"model":"gpt-open","x":"\x41"}',
        rb'{"model":"gpt\-open"}',
        b'{"model":"gpt-open"',
        b'\x0c{"model":"gpt-open"}',
        b'\xef\xbb\xbf{"model":"gpt-open"}',
        b'\xa0{"model":"gpt-open"}',
        b'\x1e{"model":"gpt-open"}\n',
        b')]}\',\n{"model":"gpt-open"}',
    ],
)
def test_09_what_is_not_strict_json_is_refused(probe: Probe, body: bytes) -> None:
    probe.refused(probe.post(body), 400, UNREADABLE)


def test_09_white_space_and_numbers_that_json_allows_pass_as_they_came(probe: Probe) -> None:
    body = b' \t\r\n{ "model" : "gpt-open" , "n" : -0.0e+10, "big" : 123456789012345678901234567890 } \n'
    exactly(probe.forwarded(probe.post(body)), body)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"model":"gpt-open","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", UNREADABLE),
        (b'{"model":"gpt-open","x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}", UNREADABLE),
        (b"[" * 1_000_000, UNREADABLE),
        (b'{"model":"gpt-open",' + b",".join(b'"%d":1' % n for n in range(300_000)) + b"}", UNREADABLE),
        (b'{"model":"gpt-open","fallbacks":[' + b",".join([b'{"model":"gpt-open"}'] * 50_000) + b"]}", UNREADABLE),
        (b'{"model":"' + b"a" * 5_000_000 + b'"}', UNKNOWN),
        (b'{"' + b"k" * 5_000_000 + b'":1}', UNREADABLE),
    ],
    ids=["nested arrays", "nested objects", "open arrays", "many keys", "many fallbacks", "long name", "long key"],
)
def test_09_a_body_made_to_cost_is_refused_in_bounded_time(probe: Probe, body: bytes, reason: str) -> None:
    probe.refused(probe.post(body), (400, 404), reason)


def test_09_ten_megabytes_of_digits_cost_nothing_and_pass_as_they_came(probe: Probe) -> None:
    body = b'{"model":"gpt-open","n":' + b"9" * 10_000_000 + b"}"
    probe.upstream.answer = lambda upstream, request: document({})
    exactly(probe.forwarded(probe.post(body)), body)
