"""Which models a request's body names: all that it can reach, or a refusal (P1; BYPASSES 1 to 9, 16)."""

from collections.abc import Container

from msgspec import Raw

from frontiergate.dialects.operation import REROUTING, Operation
from frontiergate.dialects.places import Place
from frontiergate.domain.reason import Reason
from frontiergate.errors import GateError
from frontiergate.wire import jsonbody

_MOST_PARTS = 20_000  # objects and elements looked into for one request: 50 ms at the most


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
    except jsonbody.RepeatedKeyError as error:
        raise _repeated(error, operation) from error
    except jsonbody.JsonError as error:
        raise _unreadable(error) from error
    if not jsonbody.is_plain(found):
        _check_spelling(found, operation.examined)
    field = operation.model_paths[0][0]
    value = found.get(field)
    if value is None:
        raise ModelError(Reason.CALLER_MODEL_MISSING, f"the body has no `{field}`: name the model there, as a string")
    names = [_required_name(value, field)]
    if len(operation.examined.intersection(found)) > 1:
        _add_others(operation, found, names)
    return names


def _add_others(operation: Operation, found: dict[str, Raw], names: list[str]) -> None:
    """What stands at the other places, and under keys that may not be used."""
    search = _Search(names)
    try:
        for key, value in found.items():
            kind = jsonbody.kind(value)
            if key in operation.refused and kind not in "nf":  # null and false ask for nothing
                raise _ambiguous(f"`{key}` cannot be used through this gate: {operation.refused[key]}; leave it out")
            if key in operation.places and kind != "n":
                search.enter(value, operation.places[key], key)
    except jsonbody.RepeatedKeyError as error:
        raise _repeated(error, operation) from error
    except jsonbody.JsonError as error:
        raise _unreadable(error) from error


class _Search:
    """One request's way through its places; it ends where the request has too many parts."""

    __slots__ = ("_names", "_parts")

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._parts = 0

    def enter(self, value: Raw, where: Place, key: str) -> None:
        """Looks at the value of a top-level `key`, unless one scan of it shows that it names nothing."""
        only = key in REROUTING
        if only or not where.endings or any(jsonbody.may_hold(value, ending) for ending in where.endings):
            self.look(value, where, key, only)

    def look(self, value: Raw, where: Place, field: str, only: bool) -> None:
        """Adds the names at and below `value`. `only`: the value can do nothing but name models."""
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise jsonbody.JsonError("it has too many elements in places that may name models")
        kind = jsonbody.kind(value)
        name = jsonbody.string(value) if where.names else None
        if name is not None:
            self._add(name, field)
        elif kind == "[" and where.each is not None:
            for index, element in enumerate(jsonbody.elements(value)):
                self.look(element, where.each, f"{field}[{index}]", only)
        elif kind == "{" and where.members:
            self._look_into(value, where, field, only)
        elif only or (where.names and kind != "n"):
            raise _unknown_form(where, field)

    def _look_into(self, value: Raw, where: Place, field: str, only: bool) -> None:
        found = jsonbody.members(value)
        if not jsonbody.is_plain(found):
            _check_spelling(found, where.members.keys(), f"{field}.")
        if only and where.members.keys().isdisjoint(found):
            raise _unknown_form(where, field)
        for key, below in where.members.items():
            if key in found:
                self.look(found[key], below, f"{field}.{key}", only)

    def _add(self, name: str, field: str) -> None:
        if not name:
            raise _ambiguous(f"`{field}` is empty: name a model there or leave it out")
        if name not in self._names:
            self._names.append(name)


def _required_name(value: Raw, field: str) -> str:
    name = jsonbody.string(value)
    if name:
        return name
    if name == "" or jsonbody.kind(value) == "n":
        raise ModelError(Reason.CALLER_MODEL_MISSING, f"`{field}` is empty: name the model there, as a string")
    raise _ambiguous(f"`{field}` is not a string: name one model there, as a string")


def _check_spelling(found: dict[str, Raw], keys: Container[str], prefix: str = "") -> None:
    """Refuses a key that a server which matches keys in any case would take for one of `keys`."""
    for key in found:
        folded = jsonbody.fold(key)
        if folded != key and folded in keys:
            raise _ambiguous(f"the key {prefix + key!r} can be taken for `{prefix}{folded}`: write it exactly so, or leave it out")


def _unknown_form(where: Place, field: str) -> ModelError:
    forms = ["a string"] * where.names + ["an array"] * (where.each is not None)
    if where.members:
        forms.append(f"an object with {' or '.join(f'`{key}`' for key in sorted(where.members))}")
    return _ambiguous(f"`{field}` can name models, but not like this: send {' or '.join(forms)}, or leave it out")


def _ambiguous(message: str) -> ModelError:
    return ModelError(Reason.CALLER_MODEL_AMBIGUOUS, message)


def _repeated(error: jsonbody.RepeatedKeyError, operation: Operation) -> ModelError:
    """A repeated key that matters to the gate makes the model ambiguous; any other, the body."""
    matters = jsonbody.fold(error.key) in operation.examined or error.key == "model"
    reason = Reason.CALLER_MODEL_AMBIGUOUS if matters else Reason.CALLER_BODY_UNREADABLE
    return ModelError(reason, f"the body can be read in two ways: {error}; send each key once")


def _unreadable(error: jsonbody.JsonError) -> ModelError:
    return ModelError(Reason.CALLER_BODY_UNREADABLE, f"the body is refused: {error}; send one JSON object in UTF-8 (RFC 8259)")
