"""Tables in Markdown, and the figures in their cells."""

from collections.abc import Sequence

from bench.goals import Figures, number
from bench.svg import shown


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are figures."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def cell(figures: Figures, key: str, *benches: str) -> str:
    """The figure of that name in the first of `benches` that has it; empty where none has."""
    value = number(figures, key, *benches)
    return "" if value is None else shown(value)
