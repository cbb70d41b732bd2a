"""Which models a request's body names: all that it can reach, or a refusal (P1; BYPASSES 1 to 9, 16)."""

from collections.abc import Collection, Container, Iterable, Mapping
from typing import NamedTuple

from msgspec import Raw

from frontiergate.dialects.operation import REROUTING, Operation
from frontiergate.dialects.places import Place
from frontiergate.domain.reason import Reason
from frontiergate.errors import GateError
from frontiergate.wire import jsonbody

_MOST_PARTS = 1500  # objects and elements looked into for one request, 3 µs each; a conversation has so many only where it names models
_MOST_NAMED = 16 << 10  # characters in all the names of one request, where it can name several


class ModelError(GateError):
    """The body does not say, in one way only, which models it asks for. The message names the field and what to do."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def read_models(operation: Operation, body: bytes | bytearray) -> list[str]:
    """The names in `body`, as sent, each once, in order; the required one is first. Raises ModelError."""
    try:
        found = jsonbody.document(body)
    except jsonbody.RepeatedKeyError as twice:
        raise repeated(twice, operation) from twice
    except jsonbody.JsonError as error:
        raise unreadable(error) from error
    return names_of(operation, found)


class Looked(NamedTuple):
    """What a look at one value came to, for a value that was never there as a whole (`incremental`)."""

    names: Collection[str] = ()
    parts: int = 0  # up to the fault, if there is one
    fault: jsonbody.JsonError | ModelError | None = None


def names_of(operation: Operation, found: Mapping[str, Raw | Looked]) -> list[str]:
    """The names in a body of these members, which are unlike each other; the required one is a Raw. Raises ModelError."""
    if not jsonbody.is_plain(found):
        check_spelling(found, operation.examined)
    field = operation.model_paths[0][0]
    value = found.get(field)
    if value is None:
        raise ModelError(Reason.CALLER_MODEL_MISSING, f"the body has no `{field}`: name the model there, as a string")
    assert not isinstance(value, Looked)
    name = _required_name(value, field)
    if len(operation.examined.intersection(found)) == 1:
        return [name]
    return _with_others(operation, found, name)


def _with_others(operation: Operation, found: Mapping[str, Raw | Looked], name: str) -> list[str]:
    """`name` and what stands at the other places; refuses what stands under keys that may not be used."""
    search = Search(name)
    try:
        for key, value in found.items():
            if key in operation.places:
                search.enter(value, operation.places[key], key)
            elif key in operation.refused and not (isinstance(value, Raw) and jsonbody.kind(value) in "nf"):  # those ask for nothing
                raise _ambiguous(f"`{key}` cannot be used through this gate: {operation.refused[key]}; leave it out")
    except jsonbody.RepeatedKeyError as twice:
        raise repeated(twice, operation) from twice
    except jsonbody.JsonError as error:
        raise unreadable(error) from error
    return list(search.names)


class Search:
    """One way through a body's places; it ends where they have too many parts or name too much. Raises ModelError, JsonError."""

    __slots__ = ("_length", "names", "parts")

    def __init__(self, *names: str, parts: int = 0) -> None:
        self.names: dict[str, None] = dict.fromkeys(names)
        self.parts = parts
        self._length = sum(map(len, names))

    def enter(self, value: Raw | Looked, where: Place, key: str) -> None:
        """Looks at the value of a top-level `key`, unless it is null or shows at once that it names nothing."""
        if isinstance(value, Looked):
            self._absorb(value, key)
            return
        kind, only = jsonbody.kind(value), key in REROUTING
        if only or not where.endings:
            if kind != "n":
                self.look(value, where, key, only)
        elif kind in "[{" and any(jsonbody.may_hold(value, ending) for ending in where.endings):
            self.look(value, where, key, only)

    def look(self, value: Raw | Looked, where: Place, field: str, only: bool) -> None:
        """Adds the names at and below `value`. `only`: the value can do nothing but name models."""
        if isinstance(value, Looked):
            self._absorb(value, field)
            return
        self._count(1)
        kind = jsonbody.kind(value)
        name = jsonbody.string(value) if kind == '"' and where.names else None
        if name is not None:
            self._add(name, field)
        elif kind == "[" and where.each is not None:
            for index, element in enumerate(jsonbody.elements(value)):
                self.look(element, where.each, f"{field}[{index}]", only)
        elif kind == "{" and where.members:
            self.look_into(jsonbody.members(value), where, field, only)
        elif only or (where.names and kind != "n"):
            raise unknown_form(where, field)

    def look_into(self, found: Mapping[str, Raw | Looked], where: Place, field: str, only: bool) -> None:
        """Adds the names below an object of these members."""
        if not jsonbody.is_plain(found):
            self._count(1 + jsonbody.foreign(found))  # to fold keys costs as much as to look into that many parts
            check_spelling(found, where.members.keys(), f"{field}.")
        if only and where.members.keys().isdisjoint(found):
            raise unknown_form(where, field)
        for key, below in where.members.items():
            if key in found:
                self.look(found[key], below, f"{field}.{key}", only)

    def _absorb(self, looked: Looked, field: str) -> None:
        self._count(looked.parts)
        for name in looked.names:
            self._add(name, field)
        if looked.fault is not None:
            raise looked.fault

    def _count(self, parts: int) -> None:
        self.parts += parts
        if self.parts > _MOST_PARTS:
            raise jsonbody.JsonError("it has too many elements in places that may name models")

    def _add(self, name: str, field: str) -> None:
        if not name:
            raise _ambiguous(f"`{field}` is empty: name a model there or leave it out")
        if name not in self.names:
            self._length += len(name)
            if self._length > _MOST_NAMED:
                raise jsonbody.JsonError("it names too many models")
            self.names[name] = None


def _required_name(value: Raw, field: str) -> str:
    name = jsonbody.string(value)
    if name:
        return name
    if name == "" or jsonbody.kind(value) == "n":
        raise ModelError(Reason.CALLER_MODEL_MISSING, f"`{field}` is empty: name the model there, as a string")
    raise _ambiguous(f"`{field}` is not a string: name one model there, as a string")


def check_spelling(found: Iterable[str], keys: Container[str], prefix: str = "") -> None:
    """Refuses a key that a server which matches keys in any case would take for one of `keys`."""
    for key in found:
        folded = jsonbody.fold(key)
        if folded != key and folded in keys:
            raise _ambiguous(f"the key {prefix + key!r} can be taken for `{prefix}{folded}`: write it exactly so, or leave it out")


def unknown_form(where: Place, field: str) -> ModelError:
    """The refusal of a value that can name models, but not in this form."""
    forms = ["a string"] * where.names + ["an array"] * (where.each is not None)
    if where.members:
        forms.append(f"an object with {' or '.join(f'`{key}`' for key in sorted(where.members))}")
    return _ambiguous(f"`{field}` can name models, but not like this: send {' or '.join(forms)}, or leave it out")


def _ambiguous(message: str) -> ModelError:
    return ModelError(Reason.CALLER_MODEL_AMBIGUOUS, message)


def repeated(error: jsonbody.RepeatedKeyError, operation: Operation) -> ModelError:
    """A repeated key that matters to the gate makes the model ambiguous; any other, the body."""
    matters = jsonbody.fold(error.key) in operation.examined or error.key == "model"
    reason = Reason.CALLER_MODEL_AMBIGUOUS if matters else Reason.CALLER_BODY_UNREADABLE
    return ModelError(reason, f"the body can be read in two ways: {error}; send each key once")


def unreadable(error: jsonbody.JsonError) -> ModelError:
    """The refusal of a body that is no strict JSON object."""
    return ModelError(Reason.CALLER_BODY_UNREADABLE, f"the body is refused: {error}; send one JSON object in UTF-8 (RFC 8259)")
