"""What check-config finds: an error keeps the configuration from being used, a warning does not."""

from typing import Literal

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """One finding. `message` says what is wrong and, after a semicolon, what to do."""

    level: Literal["error", "warning"]
    path: str  # as in the file, e.g. `models[0].upstream`
    message: str


def error(path: str, message: str) -> Problem:
    return Problem("error", path, message)


def warning(path: str, message: str) -> Problem:
    return Problem("warning", path, message)
