"""The catalogue: which models exist, under which exact names, and which upstream serves them (DESIGN 3)."""

from collections.abc import Iterable

import msgspec


class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model. It is asked for by its `id` or one of its `names`, exactly as written; nothing is folded or trimmed."""

    id: str
    names: tuple[str, ...] = ()
    dialects: tuple[str, ...]
    upstream: str
    tags: tuple[str, ...] = ()
    stage: str = "general"


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
