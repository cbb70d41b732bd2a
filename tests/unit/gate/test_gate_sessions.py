"""Many live sessions: decided again in groups and in slices, by whatever policy is in force by then (DESIGN 6; P4).

The gate here is a desk with the real sessions, callers, facts and policies on it, and nothing that does I/O.
"""

import asyncio
import itertools
import math
import time
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frontiergate.config.schema import Identity
from frontiergate.domain import policy as deciding
from frontiergate.domain.facts import establish
from frontiergate.domain.policy import Draft, compile_policy, decide
from frontiergate.domain.reason import Reason
from frontiergate.domain.verdict import Outcome, Verdict
from frontiergate.errors import CredentialError, StoreUnavailable
from frontiergate.gate import sessions as room
from frontiergate.gate.refused import Refused
from frontiergate.gate.sessions import Sessions
from frontiergate.identity import apikey
from frontiergate.identity.caller import Caller, Callers
from frontiergate.identity.geoip import Whereabouts
from frontiergate.slices import Slices
from frontiergate.store.protocol import Entry, GrantIssued, KeyRecord, KeyRevoked
from tests.fixtures.sources import of_sources
from tests.reference.made import CATALOGUE, CYBER, GROUPS, MODELS, OLD, PLAIN, directive, evidence, grant, instant

pytestmark = of_sources

HERE = Whereabouts()
VET = {"require": {"us_person": True}, "otherwise": {"vet": "caisi"}}
US_ONLY = {"require": {"us_person": True}}
AMERICAN = (evidence("us_person", "true"),)


class Session:
    """What sessions know of an exchange."""

    def __init__(self, desk, caller, models, credential=b""):
        self.desk, self.caller, self.models = desk, caller, models
        self.whereabouts = HERE
        self.request = SimpleNamespace(head=SimpleNamespace(credential=credential))
        self.verdict = desk.decided(caller, models)
        self.severed = None
        self.left = False

    def sever(self, cause, _farewells):
        assert self.severed is None, "severed twice"
        assert self in self.desk.sessions.live, "severed after its end"
        assert isinstance(cause, Refused) or cause.outcome is not Outcome.FORWARD
        self.severed = cause
        self.desk.severed.append(self)
        self.desk.sessions.discard(self)
        return True

    def leave(self):
        assert not self.left, "closed twice"
        self.left = True


class Desk:
    """A keeper with live sessions. `keys` and `grants` are the store; `away` is set where it is."""

    def __init__(self, *directives, slices=Slices):
        self.policy = compile_policy(CATALOGUE, directives, (), GROUPS, 1)
        self.ground = SimpleNamespace(catalogue=CATALOGUE, config=SimpleNamespace(docs_url="https://docs.example"))
        self.metrics = SimpleNamespace(severed=lambda model, reason: None)
        self.sessions = Sessions(slices)
        self.severed = []
        self.keys, self.grants = {}, {}
        self.away = False
        self.asked = 0
        self.held = None  # what an answer of the store waits for
        self.callers = Callers(Identity(api_keys=True), self.key, b"k" * 32)

    async def key(self, sha256):
        await self._answers()
        return self.keys.get(sha256)

    async def load_grants(self, caller):
        await self._answers()
        caller.grants = self.grants.get(caller.principal, ())

    async def _answers(self):
        self.asked += 1
        await asyncio.sleep(0)
        if self.held is not None:
            await self.held.wait()
        if self.away:
            raise StoreUnavailable("the store is away")

    async def establish(self, credential):
        try:
            return await self.callers.establish(credential, time.time())
        except CredentialError as error:
            raise Refused(Reason.CALLER_CREDENTIAL_INVALID, str(error)) from None

    def decided(self, caller, models):
        now = time.time()
        return decide(caller.facts(HERE, now), models, self.policy, caller.grants or (), now)

    def caller(self, name, *pieces, grants=None, expires_at=math.inf):
        made = Caller(name, name, pieces, expires_at, kind="token", issuer="i")
        made.grants = grants
        return made

    def admits(self, caller, *models, credential=b""):
        session = Session(self, caller, models, credential)
        assert session.verdict.outcome is Outcome.FORWARD
        self.sessions.add(session)
        return session

    async def admits_key(self, id, *models, **record):
        """A session of a caller with a new API key; the session, and the digest that the store knows the key by."""
        secret, digest = apikey.mint()
        self.keys[digest] = KeyRecord(id=id, sha256=digest, name=id, evidence=AMERICAN, created_at=0.0, **record)
        caller = await self.establish(secret.encode())
        return self.admits(caller, *models, credential=secret.encode()), digest

    def takes(self, *add, remove=(), pauses=(), entries=()):
        draft = Draft.after(self.policy)
        for found in remove:
            draft.remove(found)
        for found in add:
            draft.add(found)
        self.policy = draft.policy(pauses, self.policy.epoch + 1)
        self.sessions.take(self, entries)

    def enforces(self):
        return asyncio.run(self.sessions.redecide(self))


def ticking(length=10):
    """Each look at the clock is a tick, and a slice is so many ticks."""
    ticks = itertools.count()
    return lambda: Slices(length, lambda: next(ticks))


def entry(change):
    return Entry(epoch=2, at=1.0, actor="olga", reason="because", change=change)


def test_whoever_is_not_admitted_any_more_is_severed_and_nobody_else():
    desk = Desk()
    american, stranger = desk.caller("a", *AMERICAN), desk.caller("b")
    kept = [desk.admits(american, CYBER), desk.admits(stranger, PLAIN), desk.admits(american, PLAIN, CYBER)]
    gone = [desk.admits(stranger, CYBER), desk.admits(stranger, PLAIN, CYBER)]
    desk.takes(directive("us", [CYBER.id], **US_ONLY))
    assert desk.enforces() == 2
    assert set(desk.severed) == set(gone)
    assert desk.sessions.live == set(kept)
    assert {session.verdict.epoch for session in kept} == {2}


def test_the_most_restrictive_verdicts_are_carried_out_first():
    desk = Desk()
    stranger = desk.caller("b", grants=())
    for model in (OLD, PLAIN, CYBER) * 3:
        desk.admits(stranger, model)
    vet_all = directive("v", [OLD.id], **VET)
    desk.takes(vet_all, directive("r", [PLAIN.id], **US_ONLY), directive("w", [CYBER.id], withdraw=True))
    desk.enforces()
    order = [session.severed.outcome for session in desk.severed]
    assert order == [Outcome.WITHDRAWN] * 3 + [Outcome.REFUSE] * 3 + [Outcome.QUEUE] * 3

    desk = Desk()
    for model in (PLAIN, OLD):
        desk.admits(desk.caller("b", grants=()), model)
    desk.takes(directive("v", [OLD.id], **VET), pauses=[PLAIN.id])
    desk.enforces()
    assert [session.severed.outcome for session in desk.severed] == [Outcome.QUEUE, Outcome.PAUSED]


def test_sessions_of_one_caller_on_one_model_are_judged_once(monkeypatch):
    desk = Desk()
    callers = [desk.caller(f"c{number}", *AMERICAN) for number in range(3)]
    for caller in callers * 20:
        desk.admits(caller, CYBER)
    judged, found = [], deciding._judge
    monkeypatch.setattr(deciding, "_judge", lambda facts, *rest: judged.append(facts) or found(facts, *rest))
    desk.takes(directive("us", **US_ONLY))
    assert desk.enforces() == 0
    assert len(judged) == 3


def test_all_are_told_before_the_connections_of_any_are_closed(monkeypatch):
    """Closing takes several times as long as telling, and nobody waits for it."""
    monkeypatch.setattr("frontiergate.gate.sessions._ENFORCE_FIRST", 0.0)
    desk = Desk()
    for number in range(30):
        desk.admits(desk.caller(f"c{number}"), CYBER)
    desk.takes(directive(**US_ONLY))

    async def enforced():
        assert await desk.sessions.redecide(desk) == 30
        assert not any(session.left for session in desk.severed)
        await desk.sessions._closing
        assert all(session.left for session in desk.severed)

    asyncio.run(enforced())


@pytest.mark.parametrize("severs", [True, False])
def test_others_have_their_turn_while_many_sessions_are_decided(severs):
    desk = Desk(slices=ticking())
    for number in range(300):
        desk.admits(desk.caller(f"c{number}", *(() if severs else AMERICAN)), CYBER)
    desk.takes(directive("us", **US_ONLY))
    assert _turns(desk.sessions.redecide(desk)) >= 3 * 300 / 10 - 3, "grouped, judged and carried out"
    assert len(desk.severed) == (300 if severs else 0)


def test_others_have_their_turn_while_one_of_many_instants_has_come():
    desk = Desk(slices=ticking())
    now = time.time()
    for number in range(300):
        desk.admits(desk.caller(f"c{number}", expires_at=now - 1 if number == 7 else now + 1000 + number), CYBER)
    assert desk.sessions.due(desk)
    assert _turns(desk.sessions.instant(desk)) >= 300 / 10 - 1
    assert [session.severed.reason for session in desk.severed] == [Reason.CALLER_CREDENTIAL_EXPIRED]
    assert desk.sessions.next_instant == now + 1000
    assert not desk.sessions.due(desk)


def _turns(work):
    """How many turns others have while `work` is done."""

    async def main():
        turns = 0

        async def count():
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.create_task(count())
        await work
        counting.cancel()
        return turns

    return asyncio.run(main())


class Interrupted(Slices):
    """At each rest, the next of `happenings`."""

    def __init__(self, happenings):
        super().__init__(0.0)
        self._happenings = happenings

    async def rest(self):
        await super().rest()
        if self._happenings:
            self._happenings.pop(0)()


_CHANGES = ("nothing", "withdraw", "lift", "us", "not-us", "pause", "resume", "admit", "leave")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.sampled_from((0, 1, 2)), st.sampled_from(MODELS)), min_size=1, max_size=12),
    st.lists(st.tuples(st.sampled_from(_CHANGES), st.sampled_from(MODELS)), min_size=1, max_size=40),
)
def test_no_session_is_left_under_an_old_policy(asked, changes):
    """Policies come, and callers come and go, at every rest of a pass. Whoever takes a policy sees to a pass that begins after it."""
    happenings = []
    desk = Desk(slices=lambda: Interrupted(happenings))
    callers = [
        desk.caller("a", *AMERICAN, grants=()),
        desk.caller("b", grants=()),
        desk.caller("c", evidence("us_person", "false"), grants=()),
    ]
    rules = {}
    taken = [desk.policy]

    def toggle(name, model, wanted, **rule):
        have = rules.pop((name, model.id), None)
        added = []
        if wanted and have is None:
            added = [rules.setdefault((name, model.id), directive(f"{name}-{len(taken)}", [model.id], **rule))]
        elif wanted:
            rules[name, model.id] = have
            have = None
        pauses = set(desk.policy.paused)
        pauses = pauses | {model.id} if name == "pause" and wanted else pauses - {model.id} if name == "pause" else pauses
        desk.takes(*added, remove=[have] if have else [], pauses=pauses)
        taken.append(desk.policy)

    def happen(change, model):
        match change:
            case "withdraw" | "lift":
                toggle("withdraw", model, change == "withdraw", withdraw=True)
            case "us" | "not-us":
                toggle("us", model, change == "us", **US_ONLY)
            case "pause" | "resume":
                pauses = set(desk.policy.paused) ^ {model.id}
                desk.takes(pauses=pauses)
                taken.append(desk.policy)
            case "admit":
                for caller in callers:
                    if desk.decided(caller, (model,)).outcome is Outcome.FORWARD:
                        desk.admits(caller, model)
            case "leave":
                for session in [session for session in desk.sessions.live if session.models == (model,)][:1]:
                    desk.sessions.discard(session)

    for number, model in asked:
        desk.admits(callers[number], model)
    for change, model in changes:
        happenings.append(lambda change=change, model=model: happen(change, model))

    async def enforced():
        """As the feed does it."""
        acknowledged = None
        while acknowledged is not desk.policy:
            begun = desk.policy
            await desk.sessions.redecide(desk)
            for session in desk.sessions.live:
                assert session.verdict.epoch >= begun.epoch, "acknowledged ahead of truth"
            acknowledged = begun

    happenings.pop(0)()
    asyncio.run(enforced())
    for session in desk.sessions.live:
        now = time.time()
        fresh = decide(establish(session.caller.evidence, now), session.models, desk.policy, session.caller.grants, now)
        assert fresh.outcome is Outcome.FORWARD
        assert session.verdict.epoch == desk.policy.epoch
    for session in desk.severed:
        assert isinstance(session.severed, Verdict)
        by = next(policy for policy in taken if policy.epoch == session.severed.epoch)
        now = time.time()
        assert decide(establish(session.caller.evidence, now), session.models, by, (), now) == session.severed


def test_a_policy_that_comes_before_a_session_is_severed_decides_it():
    happenings = []
    desk = Desk(slices=lambda: Interrupted(happenings))
    session = desk.admits(desk.caller("b"), CYBER)
    rule = directive("us", **US_ONLY)
    desk.takes(rule)
    happenings += [lambda: None, lambda: desk.takes(remove=[rule])]  # after grouping, after judging
    assert desk.enforces() == 0
    assert session.verdict.epoch == 3


def test_a_policy_that_comes_between_two_sessions_of_a_group_decides_the_rest_of_it():
    happenings = []
    desk = Desk(slices=lambda: Interrupted(happenings))
    caller, rule = desk.caller("b"), directive("w", withdraw=True)
    for _ in range(3):
        desk.admits(caller, CYBER)
    desk.takes(rule)
    happenings += [lambda: None] * 3 + [lambda: desk.takes(remove=[rule])]  # after grouping, after the first was severed
    assert desk.enforces() == 1
    assert [session.verdict.epoch for session in desk.sessions.live] == [3, 3]


def test_an_instant_of_a_directive_is_met_by_those_whom_it_concerns(monkeypatch):
    soon = time.time() + 1000
    desk = Desk(directive("later", [CYBER.id], withdraw=True, **{"from": instant(soon).isoformat()}))
    first, other = desk.admits(desk.caller("a"), CYBER), desk.admits(desk.caller("a"), PLAIN)
    assert desk.sessions.next_instant == pytest.approx(soon, abs=1e-3)
    monkeypatch.setattr(room, "time", SimpleNamespace(time=lambda: soon + 1, monotonic=time.monotonic))
    assert desk.sessions.due(desk)
    assert asyncio.run(desk.sessions.instant(desk)) == 1
    assert (first.severed.outcome, other.severed) == (Outcome.WITHDRAWN, None)
    assert desk.sessions.next_instant == math.inf


def test_callers_that_end_without_a_policy_are_noticed():
    async def story():
        desk = Desk()
        session, _ = await desk.admits_key("k", PLAIN)
        assert not desk.sessions.due(desk) or await desk.sessions.instant(desk) == 0
        assert not desk.sessions.due(desk)
        desk.callers.forget_key("k")
        assert desk.sessions.due(desk)
        assert await desk.sessions.instant(desk) == 1
        assert session.severed.reason is Reason.CALLER_CREDENTIAL_INVALID

    asyncio.run(story())


# -- what the store must be asked for


def test_a_grant_that_nobody_needed_before_is_asked_for_before_a_session_is_severed():
    desk = Desk()
    desk.grants = {"b": (grant(principal="b", expires_at=time.time() + 1000),)}
    kept, gone = desk.admits(desk.caller("b"), CYBER), desk.admits(desk.caller("c"), CYBER)
    desk.takes(directive("v", [CYBER.id], **VET))
    assert desk.enforces() == 1
    assert kept.verdict.grants == ("g-1",)
    assert gone.severed.reason is Reason.VETTING_REQUIRED


def test_what_no_grant_could_change_is_not_asked_for():
    desk = Desk()
    for model in (CYBER, PLAIN):
        desk.admits(desk.caller("b"), model)
    desk.takes(directive("v", **VET), directive("w", withdraw=True))
    assert desk.enforces() == 2
    assert desk.asked == 0


@pytest.mark.parametrize("trouble", ["away", "slow"])
def test_whoever_has_no_answer_in_time_is_severed(trouble, monkeypatch):
    async def story():
        desk = Desk()
        if trouble == "away":
            desk.away = True
        else:
            monkeypatch.setattr(room, "_LOOK_UPS", 0.02)
            desk.held = asyncio.Event()
        for number in range(100):
            desk.admits(desk.caller(f"c{number}"), CYBER)
        refused = desk.admits(desk.caller("d"), PLAIN)
        desk.takes(directive("v", [CYBER.id], **VET), directive("w", [PLAIN.id], withdraw=True))
        assert await desk.sessions.redecide(desk) == 101
        assert desk.severed[0] is refused, "who waits for the store holds up nobody"

    asyncio.run(story())


def test_an_entry_that_touches_a_live_grant_needs_no_store():
    desk = Desk(directive("v", [CYBER.id], **VET))
    desk.away = True
    until = time.time() + 1000
    session = desk.admits(desk.caller("b", grants=(grant(principal="b", expires_at=until),)), CYBER)
    desk.takes(entries=[entry(GrantIssued(grant("g-2", principal="b", expires_at=until + 1)))])
    assert desk.enforces() == 0
    assert session.verdict.grants == ("g-2",)


def test_after_a_gap_of_the_log_who_is_still_entitled_goes_on():
    async def story():
        desk = Desk(directive("v", [CYBER.id], **VET))
        until = time.time() + 1000
        held = grant(principal="b", expires_at=until)
        desk.grants = {"b": (held,)}
        vetted = desk.admits(desk.caller("b", grants=(held,)), CYBER)
        desk.callers._known[b"b"], desk.callers._of_principal["b"] = vetted.caller, {b"b"}
        lapsed = desk.admits(desk.caller("c", grants=(grant(principal="c", expires_at=until),)), CYBER)
        desk.callers._known[b"c"], desk.callers._of_principal["c"] = lapsed.caller, {b"c"}
        good, _ = await desk.admits_key("good", PLAIN)
        twin = desk.admits(good.caller, OLD, credential=good.request.head.credential)
        revoked, digest = await desk.admits_key("revoked", PLAIN)
        desk.keys[digest] = KeyRecord(id="revoked", sha256=digest, name="", created_at=0.0, revoked_at=1.0)
        before = good.caller

        desk.takes(entries=None)
        assert before.ended, "nobody is admitted on what may be over"
        assert vetted.caller.grants is None
        assert await desk.sessions.redecide(desk) == 2
        assert set(desk.severed) == {lapsed, revoked}
        assert vetted.verdict.grants == ("g-1",)
        assert good.caller is not before
        assert {good.caller.ended, twin.caller.ended} == {False}
        assert await desk.sessions.redecide(desk) == 0

    asyncio.run(story())


def test_after_a_gap_a_key_that_cannot_be_checked_ends():
    async def story():
        desk = Desk()
        session, _ = await desk.admits_key("k", PLAIN)
        desk.takes(entries=None)
        desk.away = True
        assert await desk.sessions.redecide(desk) == 1
        assert session.severed.reason is Reason.CALLER_CREDENTIAL_INVALID

    asyncio.run(story())


def test_a_key_that_an_entry_revokes_is_not_asked_for():
    async def story():
        desk = Desk()
        await desk.admits_key("k", PLAIN)
        asked = desk.asked
        desk.takes(entries=[entry(KeyRevoked("k"))])
        assert await desk.sessions.redecide(desk) == 1
        assert desk.asked == asked

    asyncio.run(story())


def test_grants_forgotten_while_a_pass_is_under_way_are_left_to_the_next_one():
    async def story():
        happenings = []
        desk = Desk(directive("v", [CYBER.id], **VET), slices=lambda: Interrupted(happenings))
        held = grant(principal="b", expires_at=time.time() + 1000)
        desk.grants = {"b": (held,)}
        session = desk.admits(desk.caller("b", grants=(held,)), CYBER)
        session.caller.grants = ()  # so that it would be severed
        happenings += [lambda: None, lambda: setattr(session.caller, "grants", None)]
        assert await desk.sessions.redecide(desk) == 0
        assert await desk.sessions.redecide(desk) == 0
        assert session.verdict.grants == ("g-1",)

    asyncio.run(story())
