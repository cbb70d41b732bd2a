"""A request as it was received: its head, read, and its body as it comes."""

from frontiergate.domain.reason import Reason
from frontiergate.gate.head import Head
from frontiergate.gate.refused import Refused


class Request:
    """One request. `refused` is set as soon as something is wrong; from then on nothing of the body is kept."""

    # Class attributes are the defaults: what an ordinary request never sets costs it nothing.
    complete: bool = False
    body_size: int = 0
    held: int = 0  # of it, what is counted as in memory

    def __init__(self, head: Head, length: int, limit: int) -> None:
        """`length`: of the body, as Content-Length says, 0 where there is none. `limit`: the largest that is taken."""
        self.head = head
        self.close = head.close
        self.refused = head.refused
        self.body: list[bytes] = []
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

    def take_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        self.body_size += len(data)
        if self.refused is None:
            if self.length is None:
                self._check_length(self.body_size)
            self.body.append(data)
        if self.refused is not None:
            self.body.clear()

    def whole_body(self) -> bytes:
        """The body as received, without its framing."""
        body = self.body
        if len(body) != 1:
            body[:] = (b"".join(body),)
        return body[0]
