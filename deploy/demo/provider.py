"""The model provider of the demo: answers like OpenAI's and Anthropic's API, and keeps every request that it was sent."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final

from tests.fixtures.upstream import Answer, Received, Upstream, document

PACE: Final = 0.1  # seconds between two words of a stream
STORY: Final = (
    "Here is a story that takes its time, so that you can put an order into force while it is being told. "
    "Once there was a gate at the frontier, and whoever came along the road was asked who they were and where they came from. "
    "Most went on their way and hardly noticed. Some were told to wait until somebody had looked at their papers, and a few "
    "were sent back, with the number of the order in their hands and a word on whom to ask. The gate wrote all of it down. "
    "One day an order came that closed the road for everyone, at once, and those who were already on it were called back. "
    "That is why this story may end before its end."
)
_STREAM_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"


def answer(_upstream: Upstream, request: Received) -> Answer:
    """The answer to one request, whole or as a stream, in the dialect of its path."""
    asked = json.loads(request.body or b"{}")
    api = _apis(str(asked.get("model"))).get(request.target)
    if api is None:
        return document({"error": {"message": "no such thing here", "type": "invalid_request_error"}}, 404)
    return Answer(_stream(api)) if asked.get("stream") else document(api.whole("Hello from the model."))


def _apis(model: str) -> "dict[str, _OpenAI | _Anthropic]":
    return {"/v1/chat/completions": _OpenAI(model), "/v1/messages": _Anthropic(model)}


async def _stream(api: "_OpenAI | _Anthropic") -> AsyncIterator[bytes]:
    yield _STREAM_HEAD + _chunk(api.first())
    for word in STORY.split():
        await asyncio.sleep(PACE)
        yield _chunk(api.word(f"{word} "))
    yield _chunk(api.last()) + b"0\r\n\r\n"


class _OpenAI:
    """Chat completions."""

    def __init__(self, model: str) -> None:
        self._common = {"id": "chatcmpl-1", "created": 1, "model": model}

    def whole(self, text: str) -> dict[str, Any]:
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 4, "total_tokens": 5}
        return {**self._common, "object": "chat.completion", "choices": [choice], "usage": usage}

    def first(self) -> bytes:
        return self._delta({"role": "assistant", "content": ""}, None)

    def word(self, text: str) -> bytes:
        return self._delta({"content": text}, None)

    def last(self) -> bytes:
        return self._delta({}, "stop") + b"data: [DONE]\n\n"

    def _delta(self, delta: dict[str, str], finish: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _event({**self._common, "object": "chat.completion.chunk", "choices": [choice]})


class _Anthropic:
    """Messages."""

    def __init__(self, model: str) -> None:
        self._common = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "stop_sequence": None}

    def whole(self, text: str) -> dict[str, Any]:
        usage = {"input_tokens": 1, "output_tokens": 4}
        return {**self._common, "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "usage": usage}

    def first(self) -> bytes:
        message: dict[str, Any] = {**self._common, "content": [], "stop_reason": None, "usage": {"input_tokens": 1, "output_tokens": 1}}
        block = {"type": "text", "text": ""}
        return self._named("message_start", message=message) + self._named("content_block_start", index=0, content_block=block)

    def word(self, text: str) -> bytes:
        return self._named("content_block_delta", index=0, delta={"type": "text_delta", "text": text})

    def last(self) -> bytes:
        end = self._named(
            "message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": len(STORY.split())}
        )
        return self._named("content_block_stop", index=0) + end + self._named("message_stop")

    def _named(self, type: str, **members: object) -> bytes:
        return f"event: {type}\n".encode() + _event({"type": type, **members})


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
