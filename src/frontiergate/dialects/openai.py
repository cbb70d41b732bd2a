"""OpenAI's API, as its clients and the many compatible servers speak it (openai 3.54)."""

import msgspec

from frontiergate.dialects.operation import Answer, Dialect, Operation
from frontiergate.dialects.refusal import Refusal, gate_object
from frontiergate.domain.catalogue import Model
from frontiergate.domain.reason import Reason

# `models` and `fallbacks` are no part of OpenAI's API, but of servers that speak it: each name there is judged too.
_ALTERNATIVES = (("models", "*"), ("fallbacks", "*"), ("fallbacks", "*", "model"))
_MODERATION = (("moderation", "model"),)
# Tools that work with a model of their own: image_generation, and the author of its SVG images.
_TOOLS = (("model",), ("svg", "model"))

# An id stands for a model and a caller that this gate does not know (P2).
_STORED_ID = "this gate cannot yet tell which model and which caller the id stands for"

OPERATIONS = (
    Operation(
        name="chat.completions",
        method=b"POST",
        path=b"/v1/chat/completions",
        model_paths=(("model",), *_ALTERNATIVES, *_MODERATION),
    ),
    Operation(name="completions", method=b"POST", path=b"/v1/completions", model_paths=(("model",), *_ALTERNATIVES)),
    Operation(
        name="responses",
        method=b"POST",
        path=b"/v1/responses",
        model_paths=(
            ("model",),
            *_ALTERNATIVES,
            *_MODERATION,
            *(("tools", "*", *end) for end in _TOOLS),
            *(("input", "*", "tools", "*", *end) for end in _TOOLS),  # tools that a tool search found
        ),
        refused_keys={
            "previous_response_id": _STORED_ID,
            "conversation": _STORED_ID,
            "prompt": "a stored prompt can name a model, which cannot be seen from here",
            "background": "its result is fetched by an operation that this gate does not offer",
        },
    ),
    Operation(name="embeddings", method=b"POST", path=b"/v1/embeddings"),
    Operation(name="models.list", method=b"GET", path=b"/v1/models", answer=Answer.MODEL_LIST),
    Operation(name="models.retrieve", method=b"GET", path=b"/v1/models/{model}", answer=Answer.MODEL),
)

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 451: "permission_error"}
_ABOUT_THE_MODEL = frozenset({Reason.CALLER_MODEL_MISSING, Reason.CALLER_MODEL_UNKNOWN, Reason.CALLER_MODEL_AMBIGUOUS})


def _error(refusal: Refusal) -> dict[str, object]:
    return {
        "message": refusal.message,
        "type": "server_error" if refusal.status >= 500 else _TYPES.get(refusal.status, "invalid_request_error"),
        "param": "model" if refusal.model or refusal.reason in _ABOUT_THE_MODEL else None,
        "code": refusal.reason.value,
    }


def refuse(refusal: Refusal) -> bytes:
    """`{"error": {message, type, param, code}}`, the code being the reason."""
    return msgspec.json.encode({"error": _error(refusal), "frontier_gate": gate_object(refusal)})


def sever(refusal: Refusal, operation: Operation) -> bytes:
    """An event whose data has `error`, on which the clients raise APIError; for responses also its own `error` event."""
    error = _error(refusal)
    event = {"error": error, "frontier_gate": gate_object(refusal)}
    if operation.name != "responses":
        return b"data: " + msgspec.json.encode(event) + b"\n\n"
    named = {"type": "error", "sequence_number": 0, "code": error["code"], "message": error["message"], "param": error["param"]}
    return b"event: error\ndata: " + msgspec.json.encode(named | event) + b"\n\n"


def _entry(model: Model, name: str) -> dict[str, object]:
    owner, slash, _ = model.id.partition("/")
    return {"id": name, "object": "model", "created": 0, "owned_by": owner if slash else "frontiergate"}


def list_models(models: list[Model]) -> bytes:
    """Each name that a caller may send, ids first."""
    return msgspec.json.encode({"object": "list", "data": [_entry(model, name) for model in models for name in (model.id, *model.names)]})


def show_model(model: Model) -> bytes:
    """One model, by its id."""
    return msgspec.json.encode(_entry(model, model.id))


OPENAI = Dialect(
    name="openai",
    operations=OPERATIONS,
    marks=frozenset(),
    refuse=refuse,
    sever=sever,
    list_models=list_models,
    show_model=show_model,
)
