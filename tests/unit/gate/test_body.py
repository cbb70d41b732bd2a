"""What is kept of a body, when it is read, and how much of it in one turn of the loop."""

import asyncio
import itertools

import pytest

from frontiergate.dialects.models import ModelError
from frontiergate.dialects.openai import OPENAI
from frontiergate.domain.reason import Reason
from frontiergate.gate import body as bodies
from frontiergate.gate.body import Body, Turns
from frontiergate.gate.head import Head
from frontiergate.gate.request import Request
from tests.fixtures.sources import of_sources

CHAT = next(operation for operation in OPENAI.operations if operation.name == "chat.completions")


def text(size: int) -> bytes:
    return b'{"model":"m","user":"%b"}' % (b"x" * size)


def read(body: Body) -> int:
    """Read all that is unread, as `Turns` does; in how many steps."""
    steps = 0
    while body.unread:
        body.read()
        steps += 1
    return steps


def whole(data: bytes, piece: int) -> Body:
    body = Body(CHAT)
    for at in range(0, len(data), piece):
        body.add(data[at : at + piece])
    body.end()
    return body


@pytest.mark.parametrize("piece", [1, 1000, 60_000, 70_000, 256_000])
@pytest.mark.parametrize("size", [100_000, 600_000])
def test_pieces_are_kept_and_small_ones_put_together(piece: int, size: int) -> None:
    data = text(size)
    body = whole(data, piece)
    assert b"".join(body.pieces) == data
    assert all(len(kept) >= min(piece, 64 << 10) for kept in body.pieces[:-1])
    assert len(body.pieces) <= len(data) / max(piece, 64 << 10) + 1
    read(body)
    assert body.names() == ["m"]


def test_a_large_body_is_read_in_small_steps_while_it_comes() -> None:
    body = Body(CHAT)
    body.add(text(900_000)[:300_000])
    assert body.unread
    assert read(body) == 300_000 // (32 << 10) + 1
    body.add(text(900_000)[300_000:])
    body.end()
    assert read(body) == len(text(600_000)) // (32 << 10) + 2  # and the end
    assert body.names() == ["m"]


def test_a_body_that_costs_little_is_read_at_once() -> None:
    assert not whole(text(200_000), 100_000).unread
    assert whole(text(300_000), 100_000).unread
    dense = b'{"model":"m","user":[%b0]}' % (b"0," * 50_000)
    assert whole(dense, 100_000).unread


def test_a_body_that_costs_little_is_refused_as_any_other() -> None:
    with pytest.raises(ModelError):
        whole(b"x" * 200_000, 70_000).names()


def a_request(data: bytes) -> Request:
    request = Request(Head(), len(data), len(data))
    request.body = whole(data, 256_000)
    request.body_size = len(data)
    return request


def turns_taken(requests: list[Request]) -> list[int]:
    """In which turn of the loop each was read to its end."""

    async def run() -> list[int]:
        turns, ended, turn = Turns(), {}, 0
        for request in requests:
            assert turns.read(request, lambda request: ended.setdefault(id(request), turn) and None)
            assert turns.read(request, lambda _: pytest.fail("it is read once"))
        while len(ended) < len(requests):
            turn += 1
            await asyncio.sleep(0)
        return [ended[id(request)] for request in requests]

    return asyncio.run(run())


@of_sources
def test_no_more_than_a_few_connections_are_read_on_in_one_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "_TURN", 1e9)
    assert turns_taken([a_request(text(300_000)) for _ in range(10)]) == [1] * 4 + [2] * 4 + [3] * 2


@of_sources
def test_bodies_share_the_time_of_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock on which each step takes a millisecond, two steps are taken in a turn; who began first ends first, but not much earlier."""
    clock = itertools.count()
    monkeypatch.setattr(bodies, "perf_counter", lambda: next(clock) / 1000)
    steps = read(whole(text(300_000), 256_000))
    first, second = turns_taken([a_request(text(300_000)), a_request(text(300_000))])
    assert first in {second - 1, second}
    assert second >= steps


def test_a_body_that_is_refused_meanwhile_is_not_read_on() -> None:
    request = a_request(text(300_000))
    told: list[Request] = []

    async def run() -> None:
        turns = Turns()
        assert turns.read(request, told.append)
        request.refuse(Reason.GATE_OVERLOADED, "for a test")
        assert request.body is None
        assert not turns.read(request, told.append)
        await asyncio.sleep(0)

    asyncio.run(run())
    assert told == [request]


def test_a_large_body_is_freed_in_several_turns() -> None:
    """A policy's refusal of 30 MB would else hold the loop for longer than its judgement."""
    request = a_request(text(3_000_000))
    assert request.body is not None
    pieces = request.body.pieces

    async def run() -> list[int]:
        left = [len(pieces)]
        request.drop_body()
        while pieces:
            left.append(len(pieces))
            await asyncio.sleep(0)
        return left

    assert asyncio.run(run()) == [12, 4]
    assert request.body is None
