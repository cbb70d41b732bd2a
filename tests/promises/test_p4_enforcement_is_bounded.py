"""P4: a tightened policy is in force on every replica, for new requests and for streams already flowing; who enforces is reported.

How long that takes is measured in bench/enforce.py; these tests say that it happens, not when.
"""

import asyncio
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.fixtures.gate import CUT, Gate, Reply
from tests.fixtures.streams import all_ended, callers
from tests.fixtures.upstream import Answer, Received, Upstream

STREAMS = 1000
OPEN_STREAM = {"model": "gpt-open", "stream": True}
VETTED_STREAM = {"model": "gpt-vetted", "stream": True}


def error_of(events: list[bytes]) -> dict:
    """The error event that a stream ended with."""
    return json.loads(events[-1].removeprefix(b"data: "))


def test_a_withdrawal_ends_a_thousand_streams_on_two_workers_and_lifting_it_restores(upstream: Upstream, tmp_path: Path) -> None:
    upstream.pace = 0.5  # a thousand streams of the usual pace would be a load test of this process
    with Gate(tmp_path / "gate", upstream, workers=2) as gate:

        async def story() -> None:
            flowing = await callers(gate.port, gate.token(), STREAMS)
            assert all(caller.received and not caller.ended.done() for caller in flowing)
            done = await asyncio.to_thread(
                gate.cli, "withdraw", "openai/gpt-frontier", "--authority", "BIS", "--reference", "WD-1", "--wait", "30", "--output", "json"
            )
            assert done.returncode == 0, done
            await all_ended(flowing)

            report = json.loads(done.stdout)["enforcement"]
            assert report["complete"]
            assert (report["enforcing"], report["total"]) == (2, 2)
            assert sum(replica["severed"] for replica in report["replicas"]) == STREAMS
            assert all(replica["severed"] for replica in report["replicas"]), "both workers had their share"

            assert Counter(caller.orderly for caller in flowing) == {True: STREAMS}
            reasons = Counter(
                (caller.last_event["error"]["code"], caller.last_event["frontier_gate"]["order"]["reference"]) for caller in flowing
            )
            assert reasons == {("policy_withdrawn", "WD-1"): STREAMS}

            refused = await callers(gate.port, gate.token(), 50)
            assert all(caller.end.startswith(b"HTTP/1.1 451") for caller in refused)
            assert len(upstream.requests) == STREAMS
            for caller in refused:
                caller.close()

            assert (await asyncio.to_thread(gate.cli, "lift", "wd-1", "--wait", "30")).returncode == 0
            again = await callers(gate.port, gate.token(), 50)
            assert all(b"200 OK" in caller.end for caller in again)
            for caller in again:
                caller.close()
            await all_ended(again + refused)

        asyncio.run(story())
        for index in range(STREAMS):
            upstream.wait_for_cancel(index)
        gate.wait_metric(lambda value: value == STREAMS, "frontiergate_severed_sessions_total", reason="policy_withdrawn")


@pytest.fixture(autouse=True)
def streams_flow(shared_upstream: Upstream) -> Iterator[None]:
    """Streams of the next test flow until it says otherwise."""
    yield
    shared_upstream.going.set()


def test_only_the_streams_of_the_withdrawn_model_end(gate: Gate, shared_upstream: Upstream) -> None:
    with gate.stream() as doomed, gate.stream(OPEN_STREAM) as other:
        with gate.in_force("wd", "openai/gpt-frontier"):
            assert error_of(doomed.rest())["error"]["code"] == "policy_withdrawn"
            other.event()
        shared_upstream.going.clear()
        assert other.rest()[-1] == b"data: [DONE]"


def test_only_those_who_may_not_go_on_are_cut_off(gate: Gate, shared_upstream: Upstream) -> None:
    rule = {"require": {"nationality": {"none_in": ["CN"]}}, "otherwise": "refuse"}
    us, cn = gate.token(sub="us"), gate.token(sub="cn", nationalities=["CN"])
    with gate.stream(OPEN_STREAM, token=us) as goes_on, gate.stream(OPEN_STREAM, token=cn) as doomed:
        with gate.in_force("not-cn", "openai/gpt-open", **rule):
            assert error_of(doomed.rest())["frontier_gate"]["directive"] == "not-cn"
            goes_on.event()
        shared_upstream.going.clear()
        assert goes_on.rest()[-1] == b"data: [DONE]"


def test_the_end_of_a_grant_ends_its_stream_and_no_other(gate: Gate, shared_upstream: Upstream) -> None:
    grant = gate.new_grant("https://idp.example|one", "openai/gpt-vetted")
    gate.new_grant("https://idp.example|two", "openai/gpt-vetted")
    gate.wait_enforced(gate.admin("GET", "/admin/v1/epoch").json["epoch"])
    with (
        gate.stream(VETTED_STREAM, token=gate.token(sub="one")) as doomed,
        gate.stream(VETTED_STREAM, token=gate.token(sub="two")) as goes_on,
    ):
        assert (doomed.status, goes_on.status) == (200, 200)
        assert gate.admin("POST", f"/admin/v1/grants/{grant}/suspend", {"reason": "look again"}).status == 200
        assert error_of(doomed.rest())["error"]["code"] == "vetting_required"
        shared_upstream.going.clear()
        assert goes_on.rest()[-1] == b"data: [DONE]"


def test_the_end_of_a_key_ends_its_streams(gate: Gate) -> None:
    key, secret = gate.new_key()
    with gate.stream(OPEN_STREAM, token=secret) as one, gate.stream(OPEN_STREAM, token=secret) as two:
        assert gate.cli("keys", "revoke", key, "--reason", "lost", "--wait").returncode == 0
        for flow in (one, two):
            assert error_of(flow.rest())["error"]["code"] == "caller_credential_invalid"


def test_a_directive_begins_and_a_token_expires_in_mid_stream(new_gate) -> None:
    gate: Gate = new_gate(identity={"leeway": "0s"})
    soon = time.time() + 1.5
    begins = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(soon + 1))
    gate.wait_enforced(gate.put_in_force("later", "openai/gpt-frontier", **{"withdraw": True, "from": begins})["epoch"])
    with gate.stream() as until_directive, gate.stream(OPEN_STREAM, token=gate.token(exp=int(soon) + 1)) as until_expiry:
        until_directive.event()
        assert error_of(until_expiry.rest())["error"]["code"] == "caller_credential_expired"
        assert error_of(until_directive.rest())["frontier_gate"]["directive"] == "later"
    assert gate.call().reason == "policy_withdrawn"


class Withheld:
    """An upstream's answer that stops after `first` until it is told to go on."""

    def __init__(self, first: bytes) -> None:
        self.begun = threading.Event()
        self._first = first

    def __call__(self, upstream: Upstream, request: Received) -> Answer:
        return Answer(self._pieces())

    async def _pieces(self) -> AsyncIterator[bytes]:
        if self._first:
            yield self._first
        self.begun.set()
        await asyncio.Event().wait()


def test_a_request_that_waits_for_its_answer_is_refused(upstream: Upstream, new_gate) -> None:
    upstream.answer = Withheld(b"")
    gate: Gate = new_gate()
    replies: list[Reply] = []
    caller = threading.Thread(target=lambda: replies.append(gate.call({"model": "gpt-open"})))
    caller.start()
    upstream.wait_for(1)
    gate.put_in_force("wd", "openai/gpt-open")
    caller.join(20)
    assert replies[0].status == 451
    assert replies[0].json["frontier_gate"]["directive"] == "wd"
    upstream.wait_for_cancel()


def test_an_answer_that_cannot_carry_an_error_any_more_is_cut_never_ended(upstream: Upstream, new_gate) -> None:
    upstream.answer = Withheld(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"half":')
    gate: Gate = new_gate()
    with gate.stream({"model": "gpt-open"}) as flow:
        gate.put_in_force("wd", "openai/gpt-open")
        with pytest.raises(CUT):
            flow.rest()
    upstream.wait_for_cancel()


def test_an_event_is_never_torn_by_a_severing(upstream: Upstream, new_gate) -> None:
    """The caller has half of no event: the error event stands at a boundary."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    upstream.answer = Withheld(head + b"13\r\ndata: whole\n\ndata: \r\n" + b"5\r\nhalf \r\n")
    gate: Gate = new_gate()
    with gate.stream(OPEN_STREAM) as flow:
        gate.put_in_force("wd", "openai/gpt-open")
        whole, error = flow.rest()
    assert whole == b"data: whole"
    assert error_of([error])["error"]["code"] == "policy_withdrawn"


def test_the_report_says_which_replica_does_not_enforce(upstream: Upstream, new_gate) -> None:
    """A worker that hangs must show: 1 of 2, exit status 3 (BYPASSES 64)."""
    gate: Gate = new_gate(workers=2)
    hung = gate.worker_pids()[0]
    os.kill(hung, signal.SIGSTOP)
    try:
        done = gate.cli("withdraw", "openai/gpt-open", "--authority", "BIS", "--reference", "WD-1", "--wait", "1")
        assert done.returncode == 3
        assert "1 of 2 enforce epoch 1" in done.stdout
        assert "is behind, it enforces epoch 0" in done.stderr or "is silent" in done.stderr
    finally:
        os.kill(hung, signal.SIGCONT)
    gate.wait_enforced(1)
    assert {gate.call({"model": "gpt-open"}).reason for _ in range(8)} == {"policy_withdrawn"}
