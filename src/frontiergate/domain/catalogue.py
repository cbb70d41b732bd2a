"""The catalogue: which models exist, under which exact names, and which upstream serves them (DESIGN 3)."""

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model. It is asked for by its `id` or one of its `names`, exactly as written; nothing is folded or trimmed."""

    id: Annotated[str, Meta(description="the canonical id, as directives and metrics name it")]
    names: Annotated[tuple[str, ...], Meta(description="other names that it is asked for by: aliases, snapshots")] = ()
    dialects: Annotated[tuple[str, ...], Meta(description="the model APIs that it can be asked for in")]
    upstream: Annotated[str, Meta(description="the name of the upstream that serves it")]
    tags: Annotated[tuple[str, ...], Meta(description="its capabilities; directives can select by them")] = ()
    stage: Annotated[str, Meta(description="its release stage, for people to read")] = "general"
    on_stale: Annotated[
        Literal["refuse", "serve"],
        Meta(description="once `enforcement.lease` is over: `refuse`, or `serve` those whom the policy known last admits"),
    ] = "refuse"


class Catalogue:
    """All models, resolvable by dialect and name. Raises ValueError where a name would stand for two models."""

    __slots__ = ("_by_name", "models")

    def __init__(self, models: Iterable[Model]) -> None:
        self.models: dict[str, Model] = {}
        self._by_name: dict[str, dict[str, Model]] = {}
        for model in models:
            if model.id in self.models:
                raise ValueError(f"model {model.id!r} is listed twice")
            self.models[model.id] = model
            for dialect in model.dialects:
                names = self._by_name.setdefault(dialect, {})
                for name in {model.id, *model.names}:
                    if name in names:
                        raise ValueError(f"the name {name!r} stands for both {names[name].id!r} and {model.id!r} in dialect {dialect!r}")
                    names[name] = model

    def resolve(self, dialect: str, name: str) -> Model | None:
        """The model that `name` stands for in `dialect`, or None."""
        names = self._by_name.get(dialect)
        return None if names is None else names.get(name)

    def of_dialect(self, dialect: str) -> list[Model]:
        """The models offered in `dialect`, by id."""
        return sorted((m for m in self.models.values() if dialect in m.dialects), key=lambda model: model.id)
