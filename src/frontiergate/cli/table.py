"""Plain aligned tables, and text that cannot play tricks on a terminal."""

import json
from collections.abc import Iterable, Sequence
from typing import Any


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns as wide as their widest cell, two blanks apart; the last one is not padded."""
    lines = [list(head), *([cell(value) for value in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def cell(value: object) -> str:
    """A value as people read it."""
    match value:
        case None | [] | "":
            return "-"
        case True | False:
            return "yes" if value else "no"
        case list():
            return ", ".join(cell(item) for item in value)
    return plain(str(value))


def plain(text: str) -> str:
    """`text` without control characters: names and reasons come from others, and a terminal obeys escape sequences (BYPASSES 71)."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def dump(document: Any) -> str:
    """JSON for scripts."""
    return json.dumps(document, indent=2, ensure_ascii=True)
