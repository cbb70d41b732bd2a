"""Anthropic's Messages API (anthropic 2.12, stable and beta)."""

import msgspec

from frontiergate.dialects.operation import Answer, Dialect, Operation
from frontiergate.dialects.refusal import Refusal, gate_object
from frontiergate.domain.catalogue import Model
from frontiergate.domain.reason import Reason

# A message names further models in the chain of fallbacks, in the advisor tool, and in a tool added in mid-conversation.
# (`from.model` and `to.model` of an echoed fallback block name nothing: the API ignores them.)
_MODEL_PATHS = (
    ("model",),
    ("fallbacks", "*", "model"),  # not "default", which leaves the choice to the server
    ("tools", "*", "model"),
    ("messages", "*", "content", "*", "tool", "definition", "model"),
)
_REFUSED = {"thread": "this gate cannot yet tell which model and which caller a thread held by the server stands for"}
_BETA = frozenset({b"beta"})
_PAGES = frozenset({b"limit", b"before_id", b"after_id", b"beta"})

OPERATIONS = (
    Operation(name="messages", method=b"POST", path=b"/v1/messages", model_paths=_MODEL_PATHS, query=_BETA, refused_keys=_REFUSED),
    Operation(
        name="messages.count_tokens",
        method=b"POST",
        path=b"/v1/messages/count_tokens",
        model_paths=_MODEL_PATHS,
        query=_BETA,
        refused_keys=_REFUSED,
    ),
    Operation(name="models.list", method=b"GET", path=b"/v1/models", answer=Answer.MODEL_LIST, query=_PAGES),
    Operation(name="models.retrieve", method=b"GET", path=b"/v1/models/{model}", answer=Answer.MODEL, query=_BETA),
)

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    451: "permission_error",
    504: "timeout_error",
}
_OVERLOADED = frozenset({Reason.GATE_OVERLOADED, Reason.OPERATOR_PAUSED})


def _type(refusal: Refusal) -> str:
    if refusal.reason in _OVERLOADED:
        return "overloaded_error"
    return _TYPES.get(refusal.status, "api_error" if refusal.status >= 500 else "invalid_request_error")


def refuse(refusal: Refusal) -> bytes:
    """`{"type": "error", "error": {type, message}, "request_id"}`."""
    return msgspec.json.encode(
        {
            "type": "error",
            "error": {"type": _type(refusal), "message": refusal.message},
            "request_id": refusal.request_id,
            "frontier_gate": gate_object(refusal),
        }
    )


def sever(refusal: Refusal, operation: Operation) -> bytes:  # noqa: ARG001 - one event for every operation
    """`event: error`, on which the clients raise APIStatusError."""
    return b"event: error\ndata: " + refuse(refusal) + b"\n\n"


def _entry(model: Model, name: str) -> dict[str, object]:
    """The catalogue knows no release date: the API's own word for that is the epoch."""
    return {"type": "model", "id": name, "display_name": model.id, "created_at": "1970-01-01T00:00:00Z", "lifecycle": "active"}


def list_models(models: list[Model]) -> bytes:
    """Each name that a caller may send, ids first, on one page."""
    names = [(model, name) for model in models for name in (model.id, *model.names)]
    return msgspec.json.encode(
        {
            "data": [_entry(model, name) for model, name in names],
            "has_more": False,
            "first_id": names[0][1] if names else None,
            "last_id": names[-1][1] if names else None,
        }
    )


def show_model(model: Model) -> bytes:
    """One model, by its id."""
    return msgspec.json.encode(_entry(model, model.id))


ANTHROPIC = Dialect(
    name="anthropic",
    operations=OPERATIONS,
    marks=frozenset({b"anthropic-version"}),
    refuse=refuse,
    sever=sever,
    list_models=list_models,
    show_model=show_model,
)
