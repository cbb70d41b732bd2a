"""Operations: what a dialect lets a caller do, as data (DESIGN 5, route)."""

import enum
from collections.abc import Callable

import msgspec

from frontiergate.dialects.places import Place, place
from frontiergate.dialects.refusal import Refusal
from frontiergate.domain.catalogue import Model


class Answer(enum.Enum):
    """Who answers an operation."""

    UPSTREAM = "upstream"
    MODEL_LIST = "model_list"  # the gate, from the catalogue, filtered for this caller
    MODEL = "model"  # the gate, one model of the catalogue


def _keys(why: str, *keys: str) -> dict[str, str]:
    return dict.fromkeys(keys, why)


# Keys by which servers that speak these dialects choose a model other than the one in `model`. No official API has them; an
# operation that judges one declares it in its `model_paths`.
REROUTING = {
    **_keys(
        "it can name further models, which this operation does not judge",
        "models",
        "fallbacks",
        "fallback",
        "fallback_model",
        "fallback_models",
        "default_fallbacks",
        "context_window_fallbacks",
        "content_policy_fallbacks",
        "model_list",
    ),
    **_keys("it names a model a second time", "model_name", "model_id", "model_group", "engine", "deployment", "deployment_id"),
    **_keys("what it names holds a model that cannot be seen from here", "agent", "agent_id", "assistant_id", "preset", "prompt_id"),
    **_keys("it loads an adapter, which makes another model", "adapter", "adapter_id", "lora", "lora_id", "lora_path", "lora_request"),
    **_keys("it lets the server choose another model", "route", "router", "plugins", "data_sources"),
    **_keys(
        "it changes the request behind the gate",
        "extra_body",
        "extra_headers",
        "extra_query",
        "litellm_params",
        "user_config",
        "custom_llm_provider",
        "api_base",
        "base_url",
        "provideroptions",  # in any case: Vercel's gateway takes fallbacks in `providerOptions`
        "router_settings_override",
        "__proto__",
    ),
}


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation. `model_paths` are the places in a JSON body that can name a model; `*` stands for each element.

    The first is required, one key, and a string; the others are judged where present (fallbacks, arrays, tools that call
    models). A key of REROUTING that begins a path can do nothing but name models, so that anything else there is refused;
    what other keys hold is the upstream's to check. `query` holds the only query parameters that may be there; each passes
    on as it came.
    """

    name: str  # e.g. "chat.completions"
    method: bytes
    path: bytes  # exact, or with {model} as its last segment
    answer: Answer = Answer.UPSTREAM
    model_paths: tuple[tuple[str, ...], ...] = (("model",),)
    query: frozenset[bytes] = frozenset()
    refused_keys: dict[str, str] = {}  # top-level keys beyond REROUTING that may not be used, each with why
    refused: dict[str, str] = {}  # computed: all of them, without what model_paths declares
    places: dict[str, Place] = {}  # computed: model_paths but the first, as trees
    examined: frozenset[str] = frozenset()  # computed: the top-level keys that matter to the gate

    @property
    def takes_body(self) -> bool:
        """Whether requests for it have a body: those that the upstream answers."""
        return self.answer is Answer.UPSTREAM

    def __post_init__(self) -> None:
        places = place(self.model_paths[1:]).members
        refused = {key: why for key, why in (REROUTING | self.refused_keys).items() if key not in places}
        msgspec.structs.force_setattr(self, "places", places)
        msgspec.structs.force_setattr(self, "refused", refused)
        msgspec.structs.force_setattr(self, "examined", frozenset({self.model_paths[0][0], *places, *refused}))


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """One model API.

    `marks`: request headers (lower case) whose presence says that a request on a path of several dialects is of this one.
    """

    name: str
    operations: tuple[Operation, ...]
    marks: frozenset[bytes]
    refuse: Callable[[Refusal], bytes]  # a JSON body in the dialect's own error shape
    sever: Callable[[Refusal, Operation], bytes]  # the dialect's own error event for a stream of this operation (SSE)
    list_models: Callable[[list[Model]], bytes]
    show_model: Callable[[Model], bytes]
