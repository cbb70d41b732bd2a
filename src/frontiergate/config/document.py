"""A YAML document as plain values with the line of each, read by the core rules of YAML 1.2.

YAML 1.1 turns the country code NO into false, 010 into 8 and 12:30 into 750; 1.2 does not. Duplicate keys are problems: of two
values, the one that someone reviewed and the one that takes effect could differ. Aliases are bounded, tags cannot make objects.
"""

import re
from typing import Any

import msgspec
import yaml

from frontiergate.errors import ConfigError

Path = tuple[str | int, ...]

MAX_DEPTH = 50
MAX_NODES = 500_000  # values after aliases are followed: "billion laughs" ends here

_TAG = "tag:yaml.org,2002:"
_NULL, _BOOL, _INT, _FLOAT, _TIME, _STR = (_TAG + name for name in ("null", "bool", "int", "float", "timestamp", "str"))
# RFC 3339 with a blank for the T as well (YAML 1.1's timestamp, which 1.2 dropped from its core): directives have instants.
_TIMESTAMP = r"[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9]{1,2}:[0-9]{2}:[0-9]{2}(\.[0-9]*)?[ ]?(Z|[-+][0-9]{1,2}(:?[0-9]{2})?)?)?"


class Fault(msgspec.Struct, frozen=True):
    """Something wrong at a place of the document."""

    line: int
    path: Path
    message: str


class Document(msgspec.Struct, frozen=True):
    """The values, the line of each path, and what was wrong with the text."""

    value: Any
    lines: dict[Path, int]
    faults: list[Fault]

    def line(self, path: Path) -> int:
        """The line of `path`, or of the nearest thing around it."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 1)


class _Loader(yaml.SafeLoader):
    """Composes nodes; what plain scalars mean is YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  (PyYAML's own way to say it)
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"nested more than {MAX_DEPTH} deep", problem_mark=parent.start_mark if parent else None)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


for _tag, _pattern, _first in (
    (_NULL, r"null|Null|NULL|~|", ["n", "N", "~", ""]),
    (_BOOL, r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    (_INT, r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (_FLOAT, r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.0123456789")),
    (_TIME, _TIMESTAMP, list("0123456789")),
):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"(?:{_pattern})\Z"), _first)


def read_document(text: str, source_name: str) -> Document:
    """Read `text`. Raises ConfigError where it is not one YAML document; smaller faults are listed in what is returned."""
    try:
        loader = _Loader(text)
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
        builder = _Builder(loader)
        value = {} if root is None else builder.value(root, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source_name}:{mark.line + 1}" if mark else source_name
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError([f"{where}: this cannot be read as YAML: {what}; mend the line or the one above it"]) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError([f"{source_name}:{line}: the character U+{error.character:04X} may not be in YAML; remove it"]) from error
    except ValueError as error:  # PyYAML lets through what chr() and int() say of absurd escapes and versions
        raise ConfigError([f"{source_name}: this cannot be read as YAML: {error}; look at escapes (\\…) and %YAML lines"]) from error
    return Document(value, builder.lines, builder.faults)


def _integer(text: str) -> int:
    """Raises ValueError beyond 64 bits: nothing here counts so far, and Python would not even print such a number."""
    value = int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if value.bit_length() > 63:
        raise ValueError
    return value


class _Builder:
    """Turns nodes into values; an alias is followed each time, so that every place has its own path and line."""

    def __init__(self, loader: _Loader) -> None:
        self.loader = loader
        self.lines: dict[Path, int] = {}
        self.faults: list[Fault] = []
        self.nodes = 0

    def fault(self, node: yaml.Node, path: Path, message: str) -> None:
        self.faults.append(Fault(node.start_mark.line + 1, path, message))

    def value(self, node: yaml.Node, path: Path) -> Any:
        self.nodes += 1
        if len(path) > MAX_DEPTH or self.nodes > MAX_NODES:
            raise yaml.MarkedYAMLError(problem="aliases make it endless or far too large", problem_mark=node.start_mark)
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, path)
        self.fault(node, path, f"the tag {node.tag!r} is not read here; remove it")
        return None

    def mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _STR:
                self.fault(key_node, path, "a key must be text; put it in quotes")
                continue
            key = key_node.value
            if key in values:
                first = self.lines[*path, key]
                self.fault(key_node, (*path, key), f"this key stands here twice, first on line {first}; remove one of them")
                continue
            self.lines[*path, key] = key_node.start_mark.line + 1
            values[key] = self.value(value_node, (*path, key))
        return values

    def scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        text: str = node.value
        try:
            if node.tag == _STR:
                return text
            if node.tag == _NULL:
                return None
            if node.tag == _BOOL:
                return {"true": True, "false": False}[text.lower()]
            if node.tag == _INT:
                return _integer(text)
            if node.tag == _FLOAT:
                return float(re.sub(r"\.(?=[in])", "", text.lower()))
            if node.tag == _TIME:
                return self.loader.construct_yaml_timestamp(node)
        except (ValueError, KeyError, AttributeError, OverflowError):
            # AttributeError: PyYAML matches an explicit !!timestamp without looking whether it did.
            name = {_INT: "a number of at most 63 bits", _TIME: "a date or an instant"}.get(node.tag, f"a {node.tag.removeprefix(_TAG)}")
            self.fault(node, path, f"this cannot be read as {name}; mend it, or put it in quotes if it is text")
            return None
        self.fault(node, path, f"the tag {node.tag!r} is not read here; remove it")
        return None
