"""What happens to a request? One exchange, from the received request to its one outcome (DESIGN 5).

Its phases are in `phase`.

Until ANSWERING an exchange can end in a refusal, whatever the cause: policy, a deadline, the upstream. From ANSWERING on it ends
with the upstream's own end, with the dialect's error event on a stream that stands at an event boundary, or in a cut connection;
never in a well-formed end that the upstream did not send. From DIALLING on it is a live session: `sessions` decides it again when
the policy changes. The ordinary request passes from JUDGING to WAITING in one call, without a task.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from time import perf_counter, time
from typing import TYPE_CHECKING, Final

from frontiergate.domain.catalogue import Model
from frontiergate.domain.facts import Facts
from frontiergate.domain.policy import decide
from frontiergate.domain.reason import Reason
from frontiergate.domain.verdict import Outcome, Verdict
from frontiergate.gate import answer, record
from frontiergate.gate.farewells import Farewells
from frontiergate.gate.gatekeeper import Gatekeeper, listed
from frontiergate.gate.phase import ANSWERING, DIALLING, ENDED, JUDGING, SEVERED, WAITING
from frontiergate.gate.refused import Refused, refusal
from frontiergate.gate.relay import Relay, unacceptable
from frontiergate.gate.request import Request
from frontiergate.gate.upstream import Answer, Upstream, UpstreamConnection
from frontiergate.identity.address import AddressError
from frontiergate.identity.caller import Caller
from frontiergate.identity.geoip import NOWHERE, Whereabouts
from frontiergate.telemetry.records import End

if TYPE_CHECKING:
    from frontiergate.gate.listener import ClientConnection

_log = logging.getLogger(__name__)
_FORWARD: Final = Outcome.FORWARD  # by its name each time, an enum's member costs 0.3 µs in Python 3.11
_COMPLETE: Final = End.COMPLETE
_LENGTH: Final = b"\r\ncontent-length: "


class Exchange:
    """One request's life. Methods named for what happened are called by the client's and the upstream's connection."""

    # Class attributes are the defaults: what an ordinary request never sets costs it nothing.
    phase: int = JUDGING
    address: str = ""  # the client's
    whereabouts: Whereabouts = NOWHERE
    caller: Caller | None = None
    facts: Facts | None = None
    models: tuple[Model, ...] = ()
    verdict: Verdict | None = None
    status: int = 0
    waits: bool = False  # for the request's body to be read; then `begin` is called again
    label: str = "refuse"  # the verdict in the metrics
    _relay: Relay | None = None
    _upstream: UpstreamConnection | None = None
    _task: asyncio.Task[None] | None = None
    _recorded: bool = False
    _told: Reason | None = None  # why it was severed
    _sent: float = 0.0  # when the request went to the upstream, by the performance counter

    def __init__(self, client: "ClientConnection", keeper: Gatekeeper, request: Request) -> None:
        self._client = client
        self._keeper = keeper
        self.request = request
        self.request_id = keeper.request_id()
        self.started = perf_counter()

    @property
    def bytes_out(self) -> int:
        """What of an upstream's body was sent to the caller."""
        return 0 if self._relay is None else self._relay.bytes_out

    # -- JUDGING

    def begin(self) -> None:
        """Judge the request, and forward it if it may be."""
        request, keeper = self.request, self._keeper
        try:
            self._locate()
            if request.refused is not None:
                raise request.refused
            if request.unread:
                self.waits = True
                return
            keeper.require_current(request)
            at = time()
            caller = request.head.caller
            if caller is None or caller.ended or at >= caller.expires_at:
                caller = request.head.caller = keeper.callers.known(request.head.credential, at)
            if caller is None:
                self._start(self._establish())
            else:
                self._judge(caller, at)
        except Refused as refused:
            self._refuse(refused)

    def _locate(self) -> None:
        """Raises Refused."""
        try:
            self.address = self._client.address(self.request)
        except AddressError as error:
            raise Refused(Reason.CALLER_REQUEST_MALFORMED, f"The client's address cannot be told: {error}.") from None
        self.whereabouts = self._keeper.locator.locate(self.address)

    async def _establish(self) -> None:
        try:
            caller = await self._keeper.establish(self.request.head.credential)
            self._keeper.require_current(self.request)
            self._judge(caller, time())
        except Refused as refused:
            self._refuse(refused)

    def _judge(self, caller: Caller, at: float) -> None:
        """Raises Refused."""
        self.caller = caller
        head = self.request.head
        if head.forwards:
            self.models = self._keeper.models(self.request)
            self._decide(caller, at)
        else:
            self._list(caller, at)

    def _decide(self, caller: Caller, at: float) -> None:
        """Raises Refused."""
        keeper = self._keeper
        began = perf_counter()
        self.facts = facts = caller.facts(self.whereabouts, at)
        verdict = decide(facts, self.models, keeper.policy, caller.grants or (), at)
        if verdict.outcome is _FORWARD:
            keeper.metrics.decision_seconds(perf_counter() - began)
            self.verdict = verdict
            self._admit()
        elif verdict.outcome is Outcome.QUEUE and caller.grants is None:
            self._start(self._with_grants(caller, self._decide))
        else:
            keeper.metrics.decision_seconds(perf_counter() - began)
            self.verdict = verdict
            self._refuse(verdict)

    async def _with_grants(self, caller: Caller, go_on: Callable[[Caller, float], None]) -> None:
        try:
            await self._keeper.load_grants(caller)
            self._keeper.require_current(self.request)
            go_on(caller, time())
        except Refused as refused:
            self._refuse(refused)

    def _admit(self) -> None:
        self.label = "forward"
        keeper = self._keeper
        keeper.sessions.add(self)
        if keeper.strict:
            self.phase = DIALLING
            self._start(self._record_and_forward())
        else:
            self._recorded = True
            keeper.audit.write(record.admission(keeper, self))
            self._forward()

    async def _record_and_forward(self) -> None:
        """Strict durability: the decision is on disk before anything of the request leaves the gate."""
        self._recorded = True
        try:
            await self._keeper.keep(record.admission(self._keeper, self))
            self._keeper.require_current(self.request)
        except Refused as refused:
            self._refuse(refused)
        else:
            self._forward()

    def _list(self, caller: Caller, at: float) -> None:
        """Answer a list of models, or one. Raises Refused."""
        self.facts = caller.facts(self.whereabouts, at)
        offered = self._keeper.offered(self.request.head.dialect.name, self.facts, caller, at)
        if offered is None:
            self._start(self._with_grants(caller, self._list))
            return
        body = listed(self._keeper, self.request, offered)
        self.status = 200
        self.label = "forward"
        self._record("forward", None)
        self._client.write(answer.listing(body, self.request_id, at=at, close=self._client.closing_after(self.request)))
        self._end(_COMPLETE, None)

    # -- forwarding

    def _forward(self) -> None:
        upstream = self._keeper.ground.upstreams[self.models[0].upstream]
        connection = upstream.take()
        if connection is not None:
            self._send(upstream, connection)
        elif upstream.full:
            self._refuse(Refused(Reason.GATE_OVERLOADED, "All connections to the model's upstream are in use."))
        else:
            self.phase = DIALLING
            self._start(self._dial(upstream))

    async def _dial(self, upstream: Upstream) -> None:
        limit = self._keeper.ground.config.limits.connect_timeout
        try:
            self._upstream = connection = await upstream.dial(limit)
            self._keeper.require_current(self.request)
        except Refused as refused:
            self._refuse(refused)
        except TimeoutError:
            self._refuse(Refused(Reason.UPSTREAM_TOO_SLOW, f"The model's upstream took no connection within {limit:g} s."))
        except OSError as error:
            _log.warning("upstream unreachable", extra={"upstream": upstream.name, "error": type(error).__name__})
            self._refuse(Refused(Reason.UPSTREAM_UNREACHABLE, "The model's upstream cannot be reached."))
        else:
            self._send(upstream, connection)

    def _send(self, upstream: Upstream, connection: UpstreamConnection) -> None:
        request = self.request
        self.phase = WAITING
        self._upstream = connection
        whole, body = request.whole, request.body
        request.whole, request.body = b"", None
        length = str(request.body_size).encode()
        head = b"".join((request.head.for_upstream(upstream), self.request_id.encode(), _LENGTH, length, b"\r\n\r\n"))
        self._client.set_deadline(self._keeper.first_byte_timeout)
        if self._client.blocked:  # it has not read its last answer yet
            connection.pause()
        if body is None:
            connection.send(self, head, whole)
        else:
            connection.send_pieces(self, head, body.pieces)
        self._sent = now = perf_counter()
        self._keeper.metrics.overhead_seconds(now - self.started)

    def request_sent(self) -> None:
        """Nothing of a large body is held any more; the answer may last for hours."""
        self._client.body_freed(self.request)

    # -- ANSWERING

    def upstream_progress(self, connection: UpstreamConnection, answer: Answer) -> None:
        """Relay what has come: at most one write for each read."""
        out: list[bytes] = []
        relay, client = self._relay, self._client
        if relay is None:
            problem = unacceptable(answer)
            if problem is not None:
                self._refuse(Refused(Reason.UPSTREAM_BROKE, problem))
                return
            self._keeper.metrics.upstream_seconds(self.models[0].upstream, perf_counter() - self._sent)
            relay = self._relay = Relay()
            self.phase = ANSWERING
            self.status = answer.status
            request = self.request
            if relay.begin(answer, out, self.request_id, one_zero=request.head.one_zero, close=client.closing_after(request)):
                request.close = True
        pieces = answer.body
        if pieces:
            relay.body(pieces, out)
            answer.body = []
        if answer.complete:
            relay.end(out)
            client.write(b"".join(out))
            self._upstream = None
            connection.release()
            self._end(_COMPLETE, None)
        else:
            client.set_deadline(client.stream_idle)
            if out:
                client.write(b"".join(out))

    # -- what may happen at any time

    def upstream_lost(self, why: str) -> None:
        """The upstream's answer will not be completed."""
        self._upstream = None
        if self.phase == WAITING:
            self._refuse(Refused(Reason.UPSTREAM_BROKE, f"The model's upstream failed: {why}."))
        elif self.phase == ANSWERING:
            self._cut(End.UPSTREAM_BROKE, Reason.UPSTREAM_BROKE)

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
        self.leave()
        if self.phase != ENDED:
            self._end(End.CLIENT_GONE, Reason.CALLER_GONE)

    def deadline_passed(self) -> None:
        """The phase took too long."""
        if self.phase == ANSWERING:
            self._cut(End.TIMED_OUT, Reason.CALLER_TOO_SLOW if self._client.blocked else Reason.UPSTREAM_TOO_SLOW)
        elif self.phase == WAITING:
            self._refuse(Refused(Reason.UPSTREAM_TOO_SLOW, "The model's upstream did not begin to answer in time."))

    def sever(self, cause: Verdict | Refused, farewells: Farewells) -> bool:
        """End it as politely as its phase allows (DESIGN 3, severing). True where the caller has been told, and `leave` is to follow."""
        if self.phase < ANSWERING:
            self._refuse(cause, ended=End.SEVERED)
        elif self.phase == ANSWERING:
            self._say(cause, farewells)
        return self.phase == SEVERED

    def _say(self, cause: Verdict | Refused, farewells: Farewells) -> None:
        """Send the dialect's own error event, and the end; or cut the answer where it has no place for one."""
        route, relay, upstream = self.request.head.route, self._relay, self._upstream
        assert route is not None
        assert relay is not None
        if upstream is None or not relay.at_boundary:
            self._cut(End.SEVERED, cause.reason)
            return
        self.request.close = True
        self._client.write(relay.last(farewells.event(route, cause, self.request_id)))
        upstream.leave()
        self._keeper.sessions.discard(self)
        self.phase, self._told = SEVERED, cause.reason

    def leave(self) -> None:
        """Give up what a severed session still holds, unless it has."""
        if self.phase == SEVERED:
            self._end(End.SEVERED, self._told)

    def drained(self) -> None:
        """The worker stops and can wait no longer."""
        cause = Refused(Reason.GATE_DRAINING, "This gate is being stopped before the answer has ended.")
        self.sever(cause, Farewells(self._keeper.ground.config.docs_url))
        self.leave()

    # -- ENDED

    def _record(self, verdict: str, reason: Reason | None) -> None:
        """Write the decision's record, unless it was written."""
        if not self._recorded:
            self._recorded = True
            self._keeper.audit.write(record.decision(self._keeper, self, verdict, reason))

    def _refuse(self, cause: Verdict | Refused, ended: End = End.REFUSED) -> None:
        """Answer with a refusal instead of a forwarded answer; nothing has been sent to the caller before."""
        said = refusal(cause, self.request_id, self._keeper.ground.config.docs_url)
        verdict = cause.outcome.name.lower() if isinstance(cause, Verdict) else "refuse"
        if self.phase == JUDGING:
            self.label = verdict
        dialect = self.request.head.dialect
        self.status = said.status
        self._record(verdict, said.reason)
        close, head_only = self._client.closing_after(self.request), self.request.head.method == b"HEAD"
        self._client.write(answer.refusal(dialect, said, verdict, at=time(), close=close, head_only=head_only))
        self._end(ended, said.reason)

    def _cut(self, how: End, reason: Reason | None) -> None:
        """End without an end: the caller's HTTP library sees an incomplete message."""
        self._end(how, reason, cut=True)

    def _end(self, how: End, reason: Reason | None, cut: bool = False) -> None:
        if not self._recorded:  # the caller left before there was a verdict
            self._record(self.label, reason)
        self.phase = ENDED
        if self._upstream is not None:
            self._upstream.abort()
            self._upstream = None
        if self._task is not None:
            if self._task is not asyncio.current_task():
                self._task.cancel()
            self._task = None
        record.ended(self._keeper, self, how, reason)
        self._client.exchange_ended(self, cut=cut)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        """Go on in a task: only what must wait for somebody else does."""
        self._task = asyncio.get_running_loop().create_task(work)
        self._task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.fault(task.exception())

    def fault(self, error: BaseException | None) -> None:
        """A defect of ours: refuse or cut, log, never forward."""
        _log.error("fault in an exchange", extra={"request_id": self.request_id}, exc_info=error)
        if self.phase < ANSWERING:
            self._refuse(Refused(Reason.GATE_FAULT, "The gate failed to judge this request. It has been logged."))
        elif self.phase == ANSWERING:
            self._cut(End.FAULT, Reason.GATE_FAULT)
