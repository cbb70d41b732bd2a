"""JSON as RFC 7493 (I-JSON) has it, for what strangers sign: one reading only, or none."""

import json
from typing import Final, NoReturn

Object = dict[str, object]


def parse_object(document: bytes) -> Object:
    """The JSON object in `document`. Raises ValueError: not UTF-8, not JSON, not an object, a name twice, NaN, too deep."""
    try:
        value = _DECODER.decode(document.decode())
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    match value:
        case dict():
            return value
        case _:
            raise ValueError("it is not a JSON object")


def _object_of(pairs: list[tuple[str, object]]) -> Object:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name is there twice")
    return members


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object_of, parse_constant=_refuse_constant)
