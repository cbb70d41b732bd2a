"""The errors that Frontier Gate raises to its own rooms; foreign exceptions are translated where they arise."""

from frontiergate.domain.reason import Reason


class GateError(Exception):
    """The root. The message says what is wrong, where, and what to do."""


class ConfigError(GateError):
    """The configuration cannot be used. `problems` holds one line each: file, path, what and what to do."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class CredentialError(GateError):
    """No principal can be established from what the caller sent; `reason` is caller_credential_* or gate_*."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class DatabaseError(GateError):
    """A GeoIP database cannot be used."""


class StoreError(GateError):
    """The store refused or could not do what was asked."""


class StoreUnavailable(StoreError):
    """The store cannot be reached, or not be used as it is: nothing was changed, but for `OutcomeUnknown`."""


class OutcomeUnknown(StoreUnavailable):
    """A change was sent to the store, and it cannot be told whether it was made, or will last. Never repeated by us."""


class Conflict(StoreError):
    """The thing changed in between, exists already, or may not go from its state to the one asked for."""


class NotFound(StoreError):
    """No such thing in the store."""
