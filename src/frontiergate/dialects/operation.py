"""Operations: what a dialect lets a caller do, as data (DESIGN 5, route)."""

import enum
from collections.abc import Callable

import msgspec

from frontiergate.dialects.refusal import Refusal
from frontiergate.domain.catalogue import Model


class Answer(enum.Enum):
    """Who answers an operation."""

    UPSTREAM = "upstream"
    MODEL_LIST = "model_list"  # the gate, from the catalogue, filtered for this caller
    MODEL = "model"  # the gate, one model of the catalogue


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation. `model_paths` are the places in a JSON body that can name a model; `*` stands for each element.

    The first is required; the others are judged where present (fallbacks, arrays, tools that call models). `query` holds the
    only query parameters that may be there; each passes on as it came.
    """

    name: str  # e.g. "chat.completions"
    method: bytes
    path: bytes  # exact, or with {model} as its last segment
    answer: Answer = Answer.UPSTREAM
    model_paths: tuple[tuple[str, ...], ...] = (("model",),)
    query: frozenset[bytes] = frozenset()


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """One model API.

    `marks`: request headers (lower case) whose presence says that a request on a path of several dialects is of this one.
    `upstream_headers`: what is set on the way out whatever the caller sent.
    """

    name: str
    operations: tuple[Operation, ...]
    marks: frozenset[bytes]
    refuse: Callable[[Refusal], bytes]  # a JSON body in the dialect's own error shape
    sever: Callable[[Refusal], bytes]  # the dialect's own error event for a stream (SSE)
    list_models: Callable[[list[Model]], bytes]
    show_model: Callable[[Model], bytes]
