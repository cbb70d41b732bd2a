"""Why the gate says no where it is not policy that does."""

from frontiergate.dialects.models import ModelError
from frontiergate.domain.reason import Reason


class Refused(Exception):
    """A request that is answered with a refusal for a reason other than policy. `message` is for the caller."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def untold(error: ModelError) -> str:
    """What a caller is told whose body does not say which model it asks for."""
    return f"The model cannot be told: {error}."
