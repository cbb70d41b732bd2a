"""Bodies are held within a bound for the whole worker, before anybody has been asked for a credential."""

import json

from tests.fixtures.gate import Gate


def test_bodies_beyond_what_the_worker_holds_are_told_to_come_again(new_gate):
    gate: Gate = new_gate(limits={"bodies": "100KiB"})
    body = json.dumps({"model": "gpt-frontier", "messages": [], "user": "x" * 200_000}).encode()
    refused = gate.call(body)
    assert (refused.status, refused.reason) == (503, "gate_overloaded")
    assert refused.headers["retry-after"]
    assert gate.call().status == 200


def test_what_was_held_is_given_back(new_gate):
    gate: Gate = new_gate(limits={"bodies": "100KiB"})
    body = json.dumps({"model": "gpt-frontier", "messages": [], "user": "x" * 60_000}).encode()
    assert [gate.call(body).status for _ in range(5)] == [200] * 5
    for _ in range(5):
        gate.exchange(b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 70000\r\n\r\n" + b"x" * 60_000 + b"\x00" * 10_000)
    assert gate.call(body).status == 200
