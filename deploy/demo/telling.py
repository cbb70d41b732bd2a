"""How the story is told in a terminal: commands, what came back, and whether that was expected."""

import os
import shutil
import textwrap
from collections.abc import Callable, Sequence
from typing import TextIO

_BOLD, _DIM, _RED, _GREEN, _CYAN = "1", "2", "31", "32", "36"
_INDENT = "   "


class Teller:
    """Writes the story to `out`; in colours where that is a terminal and NO_COLOR is not set. Counts the steps."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._colours = out.isatty() and not os.environ.get("NO_COLOR")
        self._width = max(60, min(shutil.get_terminal_size((120, 24)).columns, 140))
        self._step = 0
        self._failed: set[int] = set()

    def say(self, text: str = "") -> None:
        print(text, file=self._out, flush=True)

    def step(self, title: str) -> None:
        """A new step begins."""
        self._step += 1
        self.say()
        self.say(self._painted(f"{self._step:>2} {title}", _BOLD))

    def command(self, words: Sequence[str], mark: str = "$") -> None:
        """A command as it was run, broken between its words only, so that it can be pasted."""
        line = _INDENT + mark
        for word in words:
            if len(line) + len(word) + 3 > self._width and line.strip() != mark:
                self.say(self._painted(f"{line} \\", _CYAN))
                line = _INDENT + " "
            line += f" {word}"
        self.say(self._painted(line, _CYAN))

    def shows(self, text: str) -> None:
        """What came back, in prose."""
        for line in text.splitlines():
            for piece in textwrap.wrap(line, self._width - 5, break_on_hyphens=False):
                self.say(self._painted(f"     {piece}", _DIM))

    def shows_lines(self, text: str) -> None:
        """What came back as lines that mean something as lines: as much of each as there is room for."""
        for line in text.splitlines():
            self.say(self._painted(f"     {line if len(line) < self._width - 5 else line[: self._width - 6] + '…'}", _DIM))

    def expect(self, what: str, got: object, wanted: object) -> None:
        """One ✓ or ✗ line; a step is as expected if all of its lines are."""
        self.check(what, got == wanted, lambda: f"expected {wanted!r}, got {got!r}")

    def check(self, what: str, holds: bool, otherwise: Callable[[], str]) -> None:
        """As `expect`, for what is not an equality; `otherwise` says what was seen instead."""
        if not holds:
            self._failed.add(self._step)
        self.say(_INDENT + (self._painted(f"✓ {what}", _GREEN) if holds else self._painted(f"✗ {what}: {otherwise()}", _RED)))

    def end(self) -> int:
        """The closing line; the exit status."""
        as_expected = self._step - len(self._failed)
        self.say()
        self.say(self._painted(f"{as_expected} of {self._step} steps as expected", _RED if self._failed else _GREEN))
        return 1 if self._failed else 0

    def _painted(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours else text
