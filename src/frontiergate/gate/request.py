"""A request as it was received: its head, read, and its body as it comes."""

from frontiergate.dialects.models import read_models
from frontiergate.domain.reason import Reason
from frontiergate.gate.body import SMALL, Body, let_go
from frontiergate.gate.head import Head
from frontiergate.gate.refused import Refused


class Request:
    """One request. `refused` is set as soon as something is wrong; from then on nothing of the body is kept."""

    # Class attributes are the defaults: what an ordinary request never sets costs it nothing.
    complete: bool = False
    body_size: int = 0
    held: int = 0  # of it, what is counted as in memory
    whole: bytes = b""  # the body, if it is small and complete; any other:
    body: Body | None = None

    def __init__(self, head: Head, length: int, limit: int) -> None:
        """`length`: of the body, as Content-Length says, 0 where there is none. `limit`: the largest that is taken."""
        self.head = head
        self.close = head.close
        self.refused = head.refused
        self.length: int | None = None if head.chunked else length
        self._limit = limit
        if length > limit or (length and not head.forwards and head.route is not None):
            self._check_length(length)

    def _check_length(self, length: int) -> None:
        route = self.head.route
        if route is not None and not route.operation.takes_body:
            self.refuse(Reason.CALLER_REQUEST_MALFORMED, "This operation takes no body.")
        elif length > self._limit:
            self.refuse(Reason.CALLER_BODY_TOO_LARGE, f"The body is larger than the {self._limit} bytes that this gate reads.")

    def refuse(self, reason: Reason, message: str) -> None:
        """Note what is wrong; the first thing that was found stands."""
        if self.refused is None:
            self.refused = Refused(reason, message)
        self.drop_body()

    def take_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        self.body_size += len(data)
        if self.refused is None:
            if self.length == len(data) <= SMALL:
                self.whole = data
            else:
                self._gather(data)

    def _gather(self, data: bytes) -> None:
        if self.body is None:
            assert self.head.route is not None
            self.body = Body(self.head.route.operation)
        self.body.add(data)
        if self.length is None:
            self._check_length(self.body_size)

    def end_body(self) -> None:
        """No more of the body comes, which did not come in one small piece."""
        if self.body is not None:
            self.body.end()
            if self.body_size <= SMALL:
                self.whole, self.body = b"".join(self.body.pieces), None

    @property
    def unread(self) -> bool:
        """Whether a part of the body has to be read before it is known which models it names."""
        return self.body is not None and self.body.unread

    def names(self) -> list[str]:
        """The models that the body names. Raises ModelError."""
        if self.body is not None:
            return self.body.names()
        assert self.head.route is not None
        return read_models(self.head.route.operation, self.whole)

    def drop_body(self) -> None:
        """Keep nothing of the body, which is not needed any more."""
        if self.body is not None:
            let_go(self.body.pieces)
        self.whole, self.body = b"", None
