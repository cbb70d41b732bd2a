"""Compares values with the types of `schema` and lists everything that is wrong, where msgspec stops at the first problem."""

import datetime
import difflib
import types
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta, UnsetType

from frontiergate.config.document import Path
from frontiergate.config.units import Duration, Size

Problem = tuple[Path, str]

_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
    Duration: "a duration such as 5s",
    Size: "a size such as 32MiB",
    datetime.date: "a date such as 2026-11-23",
    datetime.datetime: "an instant such as 2026-11-23T00:00:00Z",
}


def decode(kind: type, value: Any) -> Any:
    """msgspec's dec_hook for the types of `units`. Raises ValueError, which msgspec gives a path."""
    if kind not in (Duration, Size):
        raise NotImplementedError
    if not isinstance(value, str):
        raise ValueError(f"expected {_WORDS[kind]}, got {described(value)}; write the unit with it")  # noqa: TRY004  (msgspec's contract)
    return kind.parse(value)


def problems_of(value: Any, expected: Any, path: Path = ()) -> Iterator[Problem]:
    """Everything in `value` that is not as `expected`, each with its path."""
    kinds = members(expected)
    structs = [kind for kind in kinds if is_struct(kind)]
    if isinstance(value, dict) and structs:
        yield from _struct_problems(value, structs[0], path)
    elif isinstance(value, dict) and (mapping := _first(kinds, dict)):
        for key, item in value.items():
            yield from problems_of(item, get_args(mapping)[1], (*path, key))
    elif isinstance(value, list) and (sequence := _first(kinds, tuple)):
        inner = [problem for i, item in enumerate(value) for problem in problems_of(item, get_args(sequence)[0], (*path, i))]
        yield from inner or _leaf_problems(value, expected, path)
    else:
        yield from _leaf_problems(value, expected, path)


def _struct_problems(value: dict[str, Any], kind: type, path: Path) -> Iterator[Problem]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for key, item in value.items():
        if key in fields:
            yield from problems_of(item, fields[key].type, (*path, key))
        elif key == "<<":
            yield (*path, key), "merge keys are not read (YAML 1.2 has none); write the keys out"
        else:
            yield (*path, key), f"unknown key; {suggestion(key, fields)}"
    for name, field in fields.items():
        if field.required and name not in value:
            yield path, f"the key '{name}' is missing; add {name}: {words(field.type)}"


def _leaf_problems(value: Any, expected: Any, path: Path) -> Iterator[Problem]:
    try:
        msgspec.convert(value, expected, dec_hook=decode)
    except msgspec.ValidationError as error:
        yield path, _explained(value, expected, str(error))


def _explained(value: Any, expected: Any, error: str) -> str:
    kinds = members(expected)
    if any(kind in (Duration, Size) for kind in kinds) and value is not None:
        return error.partition(" - at `$")[0]
    choices = [choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind) if isinstance(choice, str)]
    message = f"expected {words(expected)}, got {described(value, show=bool(choices))}"
    if str in kinds and isinstance(value, int | float | datetime.date) and not isinstance(value, bool):
        return f"{message}; put it in quotes"
    if isinstance(value, str) and (near := difflib.get_close_matches(value, choices, 1)):
        return f"{message}; did you mean '{near[0]}'?"
    return f"{message}; {'remove the key, or give it a value' if value is None else 'change it'}"


def suggestion(name: str, known: Iterable[str]) -> str:
    """What to do about an unknown name: the nearest known one, else all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 1) or [n for n in names if n.lower() == name.lower()]
    if near:
        return f"did you mean '{near[0]}'?"
    return f"known here: {', '.join(names)}" if names else "none is known here: remove it"


def members(expected: Any) -> list[Any]:
    """The alternatives of a type, without Annotated and UNSET around or in them."""
    return [kind for kind, _ in alternatives(expected)]


def alternatives(expected: Any, notes: tuple[Meta, ...] = ()) -> Iterator[tuple[Any, tuple[Meta, ...]]]:
    """The alternatives of a type, each with the annotations that bear on it."""
    origin = get_origin(expected)
    if origin is Annotated:
        own = tuple(note for note in expected.__metadata__ if isinstance(note, Meta))
        yield from alternatives(expected.__origin__, own + notes)
    elif origin in (Union, types.UnionType):
        for each in get_args(expected):
            yield from alternatives(each, notes)
    elif expected is not UnsetType:
        yield expected, notes


def words(expected: Any) -> str:
    """A type in plain words: `a whole number from 0 to 65535`, `text or null`."""
    phrases = []
    for kind, notes in alternatives(expected):
        if get_origin(kind) is tuple:
            filled = any(note.min_length for note in notes)
            phrases.append(("a list with at least one of: " if filled else "a list of: ") + words(get_args(kind)[0]))
        elif get_origin(kind) is dict:
            phrases.append("a mapping of names")
        elif is_struct(kind):
            phrases.append(f"a mapping ({', '.join(field.encode_name for field in msgspec.structs.fields(kind))})")
        else:
            phrases.append(phrase(kind, notes))
    return " or ".join(phrases)


def phrase(kind: Any, notes: Iterable[Meta]) -> str:
    """A type that holds no other, in plain words."""
    if get_origin(kind) is Literal:
        return " or ".join(str(choice).lower() if isinstance(choice, bool) else f"'{choice}'" for choice in get_args(kind))
    return _WORDS[kind] + "".join(_bounds(kind, notes))


def _bounds(kind: type, notes: Iterable[Meta]) -> Iterator[str]:
    for note in notes:
        if kind is int and note.ge is not None:
            yield f" from {note.ge}" + ("" if note.le is None else f" to {note.le}")
        if kind is str and note.min_length:
            yield " that is not empty"
        if kind is str and note.max_length is not None:
            yield f" of at most {note.max_length} characters"
        if kind is str and note.pattern is not None:
            yield f" that matches {note.pattern}"


def described(value: Any, *, show: bool = False) -> str:
    """What was found instead. Text is shown only where asked for: a secret may have been pasted in the wrong place."""
    match value:
        case None:
            return "nothing (null)"
        case bool():
            return str(value).lower()
        case int() | float():
            return f"the number {value}"
        case datetime.datetime():
            return "an instant"
        case datetime.date():
            return "a date"
        case str():
            return f"{value[:40]!r}" if show else "text" if value else "empty text"
        case dict():
            return "a mapping"
        case _:
            return "a list" if value else "an empty list"


def is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _first(kinds: list[Any], origin: type) -> Any:
    return next((kind for kind in kinds if get_origin(kind) is origin), None)
