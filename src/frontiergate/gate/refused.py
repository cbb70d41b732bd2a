"""Why the gate says no where it is not policy that does."""

from frontiergate.dialects.models import ModelError
from frontiergate.dialects.refusal import Refusal, refusal_for, refusal_of
from frontiergate.domain.reason import Reason
from frontiergate.domain.verdict import Verdict


class Refused(Exception):
    """A request that is answered with a refusal for a reason other than policy. `message` is for the caller."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


def untold(error: ModelError) -> str:
    """What a caller is told whose body does not say which model it asks for."""
    return f"The model cannot be told: {error}."


def refusal(cause: Verdict | Refused, request_id: str, docs_url: str) -> Refusal:
    """What the caller is told for `cause`."""
    if isinstance(cause, Verdict):
        return refusal_of(cause, request_id, docs_url)
    return refusal_for(cause.reason, cause.message, request_id, docs_url)
