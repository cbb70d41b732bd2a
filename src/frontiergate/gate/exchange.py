"""What happens to a request? One exchange, from the received request to its one outcome (DESIGN 5).

    JUDGING ──→ DIALLING ──→ WAITING ──→ ANSWERING ──→ ENDED
       │            │            │             │         ↑
       └────────────┴────────────┴─────────────┴─────────┘

JUDGING    establish the caller, resolve the models, decide; nothing has been sent to anybody
DIALLING   the verdict is forward; it is being made durable, or a connection to the upstream is being opened
WAITING    the request is with the upstream; nothing of the answer has been sent to the caller
ANSWERING  the head of the answer is on its way to the caller
ENDED      told to audit and metrics, exactly once

Until ANSWERING an exchange can end in a refusal, whatever the cause: policy, a deadline, the upstream. From ANSWERING on it ends
with the upstream's own end, with the dialect's error event on a stream that stands at an event boundary, or in a cut connection;
never in a well-formed end that the upstream did not send. From DIALLING on it is a live session: `sessions` decides it again when
the policy changes. The ordinary request passes from JUDGING to WAITING in one call, without a task.
"""

import asyncio
import enum
import logging
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Final

from frontiergate.dialects.operation import Answer
from frontiergate.dialects.refusal import Refusal, refusal_for, refusal_of
from frontiergate.domain.catalogue import Model
from frontiergate.domain.reason import Reason
from frontiergate.domain.verdict import Outcome, Verdict
from frontiergate.errors import StoreUnavailable
from frontiergate.gate import answer, record
from frontiergate.gate.gatekeeper import Gatekeeper
from frontiergate.gate.refused import Refused
from frontiergate.gate.request import Request
from frontiergate.gate.upstream import Upstream, UpstreamConnection
from frontiergate.identity.address import AddressError
from frontiergate.identity.caller import Caller
from frontiergate.identity.geoip import NOWHERE
from frontiergate.telemetry.records import End
from frontiergate.wire import http1, sse

if TYPE_CHECKING:
    from frontiergate.gate.listener import ClientConnection

_log = logging.getLogger(__name__)
_HELD_EVENT: Final = 1 << 16  # bytes of an unfinished event held back; a longer one passes as it comes


class Phase(enum.IntEnum):
    """Where an exchange stands; see the module's table."""

    JUDGING = 0
    DIALLING = 1
    WAITING = 2
    ANSWERING = 3
    ENDED = 4


class Exchange:
    """One request's life. Methods named for what happened are called by the client's and the upstream's connection."""

    __slots__ = (
        "_body",
        "_chunked",
        "_client",
        "_held",
        "_keeper",
        "_label",
        "_recorded",
        "_sse",
        "_task",
        "_upstream",
        "_whole",
        "address",
        "bytes_out",
        "caller",
        "models",
        "phase",
        "request",
        "request_id",
        "started",
        "status",
        "verdict",
        "whereabouts",
    )

    def __init__(self, client: "ClientConnection", keeper: Gatekeeper, request: Request) -> None:
        self._client = client
        self._keeper = keeper
        self.request = request
        self.request_id = keeper.request_id()
        self.phase = Phase.JUDGING
        self.started = time.perf_counter()
        self.caller: Caller | None = None
        self.address = ""
        self.whereabouts = NOWHERE
        self.models: list[Model] = []
        self.verdict: Verdict | None = None
        self.status = 0
        self.bytes_out = 0
        self._upstream: UpstreamConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._body = b""
        self._held = b""
        self._chunked = self._sse = False
        self._recorded = False
        self._label = "refuse"  # the metrics' verdict
        self._whole = True  # the stream stands at an event boundary

    # -- JUDGING

    def begin(self) -> None:
        """Judge the request, and forward it if it may be."""
        request = self.request
        try:
            self._locate()
            if request.refused is not None:
                raise request.refused
            self._body = request.whole_body()
            request.body.clear()
            if self._keeper.stale():
                raise Refused(Reason.GATE_POLICY_STALE, "This gate cannot confirm that its policy is current, so it admits nobody for now.")
            self.caller = self._keeper.callers.known(request.credential, time.time())
            if self.caller is None:
                self._start(self._establish())
            else:
                self._judge()
        except Refused as refused:
            self._refuse(refused)

    def _locate(self) -> None:
        """Raises Refused."""
        try:
            self.address = self._client.address(self.request)
        except AddressError as error:
            raise Refused(Reason.CALLER_REQUEST_MALFORMED, str(error)) from None
        self.whereabouts = self._keeper.locator.locate(self.address)

    async def _establish(self) -> None:
        try:
            self.caller = await self._keeper.establish(self.request.credential)
            self._judge()
        except Refused as refused:
            self._refuse(refused)

    def _judge(self) -> None:
        """Raises Refused."""
        route = self.request.route
        assert route is not None
        if route.operation.answer is Answer.UPSTREAM:
            self.models = self._keeper.models(route, self._body)
            self._decide()
        else:
            self._list()

    def _decide(self) -> None:
        """Raises Refused."""
        assert self.caller is not None
        began = time.perf_counter()
        verdict = self._keeper.decide(self.caller, self.whereabouts, self.models, time.time())
        if verdict.outcome is Outcome.QUEUE and self.caller.grants is None:
            self._start(self._decide_with_grants())
            return
        self._keeper.metrics.decision_seconds(time.perf_counter() - began)
        self.verdict = verdict
        if verdict.outcome is not Outcome.FORWARD:
            self._refuse(verdict)
            return
        self._label = "forward"
        self._keeper.sessions.add(self)
        if self._keeper.ground.config.audit.durability == "strict":
            self.phase = Phase.DIALLING
            self._start(self._record_and_forward())
        else:
            self._record("forward", None)
            self._forward()

    async def _record_and_forward(self) -> None:
        """Strict durability: the decision is on disk before anything of the request leaves the gate."""
        self._recorded = True
        try:
            await self._keeper.audit.durable(record.decision(self._keeper, self, "forward", None))
        except StoreUnavailable:
            self._refuse(Refused(Reason.GATE_STORE_UNAVAILABLE, "The decision could not be recorded, so the request is not forwarded."))
        else:
            self._forward()

    def _record(self, verdict: str, reason: Reason | None) -> None:
        """Write the decision's record, once."""
        if not self._recorded:
            self._recorded = True
            self._keeper.audit.write(record.decision(self._keeper, self, verdict, reason))

    async def _decide_with_grants(self) -> None:
        assert self.caller is not None
        try:
            await self._keeper.load_grants(self.caller)
            self._decide()
        except StoreUnavailable:
            self._refuse(Refused(Reason.GATE_STORE_UNAVAILABLE, "The store of approvals cannot be reached, so nobody is admitted on one."))
        except Refused as refused:
            self._refuse(refused)

    def _list(self) -> None:
        """Answer a list of models, or one. Raises Refused."""
        assert self.request.route is not None
        assert self.caller is not None
        route, at = self.request.route, time.time()
        offered = self._keeper.offered(route.dialect.name, self.caller, self.whereabouts, at)
        if route.operation.answer is Answer.MODEL:
            # One answer for "does not exist" and "not for you": a list that hides a model is not undone by asking for it.
            wanted = self._keeper.models(route, b"")[0]
            if wanted not in offered:
                raise Refused(Reason.CALLER_MODEL_UNKNOWN, "There is no model of that name that is open to you.")
            body = route.dialect.show_model(wanted)
        else:
            body = route.dialect.list_models(offered)
        self.status = 200
        self._label = "forward"
        self._record("forward", None)
        self._client.write(answer.listing(body, self.request_id, at=at, close=self._client.closing_after(self.request)))
        self._end(End.COMPLETE, None)

    # -- forwarding

    def _forward(self) -> None:
        upstream = self._keeper.ground.upstreams[self.models[0].upstream]
        connection = upstream.take()
        if connection is not None:
            self._send(upstream, connection)
        elif upstream.full:
            self._refuse(Refused(Reason.GATE_OVERLOADED, "All connections to the model's upstream are in use."))
        else:
            self.phase = Phase.DIALLING
            self._start(self._dial(upstream))

    async def _dial(self, upstream: Upstream) -> None:
        limit = self._keeper.ground.config.limits.connect_timeout
        try:
            connection = await upstream.dial(limit)
        except TimeoutError:
            self._refuse(Refused(Reason.UPSTREAM_TOO_SLOW, f"The model's upstream took no connection within {limit:g} s."))
        except OSError as error:
            _log.warning("upstream unreachable", extra={"upstream": upstream.name, "error": type(error).__name__})
            self._refuse(Refused(Reason.UPSTREAM_UNREACHABLE, "The model's upstream cannot be reached."))
        else:
            self._send(upstream, connection)

    def _send(self, upstream: Upstream, connection: UpstreamConnection) -> None:
        route = self.request.route
        assert route is not None
        self.phase = Phase.WAITING
        self._upstream = connection
        body = self._body
        self._body = b""
        head = b"%b%b\r\nx-gate-request-id: %b\r\ncontent-length: %d\r\n\r\n" % (
            upstream.request_head(self.request.method, route.path, route.query),
            b"".join(self.request.fields),
            self.request_id.encode(),
            len(body),
        )
        self._client.set_deadline(self._keeper.ground.config.limits.first_byte_timeout)
        connection.send(self, head, body)
        self._keeper.metrics.overhead_seconds(time.perf_counter() - self.started)

    # -- ANSWERING

    def upstream_progress(self, connection: UpstreamConnection) -> None:
        """Relay what has come: at most one write for each read."""
        out: list[bytes] = []
        if self.phase is Phase.WAITING:
            problem = _unacceptable(connection)
            if problem is not None:
                self._refuse(Refused(Reason.UPSTREAM_BROKE, problem))
                return
            self._begin_answer(connection, out)
        pieces = connection.body
        if pieces:
            connection.body = []
            self._client.set_deadline(self._client.stream_idle)
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            if self._sse:
                data = self._whole_events(data, connection.complete)
            self._frame(data, out)
        if connection.complete:
            self._frame(self._held, out)
            if self._chunked:
                out.append(http1.LAST_CHUNK)
            self._client.write(b"".join(out))
            self._upstream = None
            connection.release()
            self._end(End.COMPLETE, None)
        elif out:
            self._client.write(b"".join(out))

    def _frame(self, data: bytes, out: list[bytes]) -> None:
        if data:
            self.bytes_out += len(data)
            if self._chunked:
                out += (b"%x\r\n" % len(data), data, b"\r\n")
            else:
                out.append(data)

    def _begin_answer(self, connection: UpstreamConnection, out: list[bytes]) -> None:
        request = self.request
        self.phase = Phase.ANSWERING
        self.status = connection.status
        self._sse = connection.content_type.startswith(b"text/event-stream") and connection.encoding is None
        close = self._client.closing_after(request)
        bodiless = connection.status in {204, 304}
        if connection.length is None and not bodiless:
            self._chunked = not request.one_zero
            if request.one_zero:  # only the connection's end can end it (RFC 9112 section 6.3)
                close = request.close = True
        out.append(http1.STATUS_LINES[connection.status])
        out += connection.head
        out.append(b"\r\nx-gate-verdict: forward\r\nx-gate-request-id: ")
        out.append(self.request_id.encode())
        if self._chunked:
            out.append(b"\r\ntransfer-encoding: chunked")
        elif connection.length is not None and not bodiless:
            out += (b"\r\ncontent-length: ", connection.length)
        out.append(b"\r\nconnection: close\r\n\r\n" if close else b"\r\n\r\n")

    def _whole_events(self, data: bytes, last: bool) -> bytes:
        """What of `data` may pass now, so that the stream always stands at an event boundary and can be severed there at once."""
        if self._held:
            data = self._held + data
            self._held = b""
        if last or sse.at_event_boundary(data[-3:]):
            self._whole = True
            return data
        boundary = sse.last_boundary(data)
        rest = data[boundary:]
        if len(rest) > _HELD_EVENT or not self._whole:
            # Too long to hold: it passes as it comes, and until its end a severed stream is cut instead.
            self._whole = False
            return data
        self._held = rest
        return data[:boundary]

    # -- what may happen at any time

    def upstream_lost(self, connection: UpstreamConnection, why: str) -> None:
        """The upstream's answer will not be completed."""
        self._upstream = None
        if self.phase is Phase.WAITING:
            self._refuse(Refused(Reason.UPSTREAM_BROKE, f"The model's upstream failed: {why}."))
        elif self.phase is Phase.ANSWERING:
            self._cut(End.UPSTREAM_BROKE, Reason.UPSTREAM_BROKE)

    def upstream_blocked(self, *, blocked: bool) -> None:
        """The body is wholly in memory and is written once, so nothing has to wait for the upstream to read on."""

    def client_blocked(self, blocked: bool) -> None:
        """The caller stopped or resumed reading: a stopped reader stops its writer."""
        if self._upstream is not None:
            if blocked:
                self._upstream.pause()
            else:
                self._upstream.resume()
                self._client.set_deadline(self._client.stream_idle)

    def client_gone(self) -> None:
        """The caller is not there any more: free everything that was held for it."""
        if self.phase is not Phase.ENDED:
            self._end(End.CLIENT_GONE, Reason.CALLER_GONE)

    def deadline_passed(self) -> None:
        """The phase took too long."""
        if self.phase is Phase.ANSWERING:
            self._cut(End.TIMED_OUT, Reason.CALLER_TOO_SLOW if self._client.blocked else Reason.UPSTREAM_TOO_SLOW)
        elif self.phase is Phase.WAITING:
            self._refuse(Refused(Reason.UPSTREAM_TOO_SLOW, "The model's upstream did not begin to answer in time."))

    def sever(self, cause: Verdict | Refused) -> None:
        """End a live session because policy changed (DESIGN 3, severing)."""
        reason = cause.reason
        assert reason is not None
        self._keeper.metrics.severed(self.models[0].id, reason.value)
        if self.phase < Phase.ANSWERING:
            self._refuse(cause, ended=End.SEVERED)
        elif self._sse and self._whole and self._chunked:
            assert self.request.dialect is not None
            assert self.request.route is not None
            event = self.request.dialect.sever(self._refusal(cause), self.request.route.operation)
            self.request.close = True
            self._client.write(b"%x\r\n%b\r\n%b" % (len(event), event, http1.LAST_CHUNK))
            self._end(End.SEVERED, reason)
        else:
            self._cut(End.SEVERED, reason)

    # -- ENDED

    def _refusal(self, cause: Verdict | Refused) -> Refusal:
        docs_url = self._keeper.ground.config.docs_url
        if isinstance(cause, Verdict):
            return refusal_of(cause, self.request_id, docs_url)
        return refusal_for(cause.reason, cause.message, self.request_id, docs_url)

    def _refuse(self, cause: Verdict | Refused, ended: End | None = None) -> None:
        """Answer with a refusal instead of a forwarded answer; nothing has been sent to the caller before."""
        refusal = self._refusal(cause)
        verdict = cause.outcome.name.lower() if isinstance(cause, Verdict) else "refuse"
        if self.phase is Phase.JUDGING:
            self._label = verdict
        dialect = self.request.dialect
        assert dialect is not None
        self.status = refusal.status
        self._record(verdict, refusal.reason)
        close = self._client.closing_after(self.request)
        self._client.write(answer.refusal(dialect, refusal, verdict, at=time.time(), close=close))
        self._end(ended or End.REFUSED, refusal.reason)

    def _cut(self, how: End, reason: Reason) -> None:
        """End without an end: the caller's HTTP library sees an incomplete message."""
        self._end(how, reason, cut=True)

    def _end(self, how: End, reason: Reason | None, cut: bool = False) -> None:
        self.phase = Phase.ENDED
        if self._upstream is not None:
            self._upstream.abort()
            self._upstream = None
        if self._task is not None:
            if self._task is not asyncio.current_task():
                self._task.cancel()
            self._task = None
        record.ended(self._keeper, self, how, reason, self._label)
        self._client.exchange_ended(self, cut=cut)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        """Go on in a task: only what must wait for somebody else does."""
        self._task = asyncio.get_running_loop().create_task(work)
        self._task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            return
        self.fault(task.exception())

    def fault(self, error: BaseException | None) -> None:
        """A defect of ours: refuse or cut, log, never forward."""
        _log.error("fault in an exchange", extra={"request_id": self.request_id}, exc_info=error)
        if self.phase < Phase.ANSWERING:
            self._refuse(Refused(Reason.GATE_FAULT, "The gate failed to judge this request. It has been logged."))
        elif self.phase is Phase.ANSWERING:
            self._cut(End.FAULT, Reason.GATE_FAULT)


def _unacceptable(connection: UpstreamConnection) -> str | None:
    """Why an upstream's answer must not reach the caller, or None."""
    if connection.status in {401, 407}:
        # It speaks of the gate's own credential, and some upstreams quote it (P6).
        return "The model's upstream did not accept this gate's credential; the operator has to look."
    location = connection.location
    if location is not None and (not location.startswith(b"/") or location.startswith((b"//", b"/\\"))):
        return "The model's upstream redirected to another place; redirects are not followed."
    return None
