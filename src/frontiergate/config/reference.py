"""The JSON Schema and the reference manual of the configuration, written from `schema` so that they cannot disagree with it.

`python -m frontiergate.config.reference SCHEMA.json REFERENCE.md` writes both.
"""

import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
from msgspec import UNSET

from frontiergate.config.schema import Config
from frontiergate.config.shape import alternatives, is_struct, members, phrase
from frontiergate.config.units import DURATION_PATTERN, SIZE_PATTERN, Duration, Size

_INTRO = """# Configuration

Generated from `src/frontiergate/config/schema.py` by `python -m frontiergate.config.reference`; please edit there.

One YAML file, named by `--config` or `FRONTIERGATE_CONFIG`. It is read by the rules of YAML 1.2: only `true` and `false` are
booleans, so that `NO` is Norway. An unknown key is an error. Relative paths are taken from the file's own folder.
`frontiergate check-config` tells everything that is wrong with it.

- A duration is a number with `ms`, `s`, `m`, `h` or `d`; a size one with `B`, `KiB`, `MiB` or `GiB`.
- An instant has a time zone: `2026-11-23T00:00:00Z`.
- `store` is `sqlite:///absolute/path`, `sqlite:relative/path`, or [Redis, to share it](../how-to/share-a-store.md).
- In the headings, `[]` stands for each item of a list and `*` for each name of a mapping.
"""


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of `frontiergate.yaml`."""
    schema = msgspec.json.schema(Config, schema_hook=_unit_schema)
    for kind in _parts():
        definition = schema["$defs"][kind.__name__]
        definition["description"] = _meaning_of(kind)
        for field in msgspec.structs.fields(kind):
            default = _default(field)
            if isinstance(default, Duration | Size):
                definition["properties"][field.encode_name]["default"] = default.text()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "frontiergate.schema.json",
        "title": "Frontier Gate",
        **schema,
    }


def _unit_schema(kind: type) -> dict[str, Any]:
    if kind is Duration:
        return {"type": "string", "pattern": DURATION_PATTERN, "examples": ["5s", "250ms", "90d"]}
    if kind is Size:
        return {"type": "string", "pattern": SIZE_PATTERN, "examples": ["64KiB", "32MiB"]}
    raise NotImplementedError


def config_reference() -> str:
    """The reference manual: one table for each part of the file, every key in it."""
    sections = [_INTRO]
    for kind, places in _parts().items():
        title = ", ".join(f"`{place}`" for place in places) if kind is not Config else "The file"
        rows = [_row(field) for field in msgspec.structs.fields(kind)]
        table = "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows])
        sections.append(f'<a id="{kind.__name__.lower()}"></a>\n\n## {title}\n\n{_meaning_of(kind)}\n\n{table}\n')
    return "\n".join(sections)


def _parts() -> dict[type, list[str]]:
    """Every struct of the configuration in the order of the file, with the places where it may stand."""
    places: dict[type, list[str]] = {}

    def visit(kind: type, place: str) -> None:
        known = kind in places
        places.setdefault(kind, []).append(place)
        if known:  # its own parts are told of already; a requirement holds requirements
            return
        for field in msgspec.structs.fields(kind):
            for inner, step in _structs(field.type):
                visit(inner, f"{place}.{field.encode_name}{step}".lstrip("."))

    visit(Config, "")
    return places


def _structs(expected: Any, step: str = "") -> Iterator[tuple[type, str]]:
    """The structs that a value of the type `expected` can hold, and the step from the value to each."""
    for kind in members(expected):
        if is_struct(kind):
            yield kind, step
        elif get_origin(kind) is tuple:
            yield from _structs(get_args(kind)[0], step + "[]")
        elif get_origin(kind) is dict:
            yield from _structs(get_args(kind)[1], step + ".*")


def _row(field: msgspec.structs.FieldInfo) -> str:
    cells = [f"`{field.encode_name}`", _type(field.type), _shown(_default(field)), _meaning(field)]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(expected: Any) -> str:
    """Like `shape.words`, but a mapping is a link to its section."""
    phrases = []
    for kind, notes in alternatives(expected):
        if is_struct(kind):
            phrases.append(f"[mapping](#{kind.__name__.lower()})")
        elif get_origin(kind) is tuple:
            phrases.append(f"list of {_type(get_args(kind)[0])}")
        elif get_origin(kind) is dict:
            phrases.append(f"names, each with {_type(get_args(kind)[1])}")
        elif kind in (Duration, Size):
            phrases.append(kind.__name__.lower())
        elif kind is not type(None):  # that null is allowed shows in the default
            phrases.append(phrase(kind, notes))
    return " or ".join(phrases) or "null"


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def _shown(default: Any) -> str:
    if default is msgspec.NODEFAULT:
        return "required"
    if isinstance(default, Duration | Size):
        return f"`{default.text()}`"
    if default is UNSET or (is_struct(type(default)) and default == type(default)()):
        return ""
    return f"`{json.dumps(msgspec.to_builtins(default), ensure_ascii=False)}`"


def _meaning(field: msgspec.structs.FieldInfo) -> str:
    """The `Doc` beside the type; else, of a mapping, the first sentence of its docstring."""
    texts = [note.description for _, notes in alternatives(field.type) for note in notes if note.description]
    if not texts:
        texts = [_meaning_of(kind).partition(". ")[0].rstrip(".") for kind, _ in _structs(field.type)]
    return texts[0] if texts else ""


def _meaning_of(kind: type) -> str:
    return " ".join((inspect.getdoc(kind) or "").split())


def main(schema: str, reference: str) -> None:
    """Write both files."""
    Path(schema).write_text(json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n", "utf-8")
    Path(reference).write_text(config_reference(), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
