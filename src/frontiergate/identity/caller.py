"""Callers: from a credential to a principal with evidence, established once and remembered until it ends (DESIGN 5; BYPASSES 43, 79).

`Callers.known` is the hot path: one dictionary look-up and a comparison, about 0.1 µs. Everything slower is in `establish`.
A caller that is forgotten is marked `ended`, also where only a live session still holds it.
"""

import asyncio
import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, Literal
from weakref import WeakSet

from frontiergate.config.schema import Identity, Issuer
from frontiergate.domain.evidence import Evidence
from frontiergate.domain.facts import Facts, establish
from frontiergate.domain.reason import Reason
from frontiergate.domain.vetting import Grant
from frontiergate.errors import CredentialError
from frontiergate.identity import apikey, token
from frontiergate.identity.claims import evidence_of
from frontiergate.identity.geoip import Whereabouts
from frontiergate.identity.jwks import KeySet

COSTLY_CHECKS_PER_SECOND: Final = 5_000  # new tokens and key look-ups; at about 100 µs each, half of a worker's loop
_REFUSALS_KEPT: Final = 16_384
_REFUSED_FOR: Final = 5.0  # seconds that a bad credential is refused without another look
_WHEREABOUTS_KEPT: Final = 8  # per caller


class Caller:
    """An established principal. `ended` is set once it is no longer good for anything, for those who hold it longer.

    `grants` is a cache for the room that asks the store; None: not asked yet, or forgotten.
    """

    __slots__ = (
        "__weakref__",
        "_facts",
        "ended",
        "evidence",
        "expires_at",
        "grants",
        "issuer",
        "key_id",
        "kind",
        "principal",
        "pseudonym",
        "verified_with",
    )

    def __init__(
        self,
        principal: str,
        pseudonym: str,
        evidence: tuple[Evidence, ...],
        expires_at: float,
        *,
        kind: Literal["token", "key"],
        key_id: str | None = None,
        issuer: str | None = None,
        verified_with: str | None = None,
    ) -> None:
        self.principal = principal
        self.pseudonym = pseudonym
        self.evidence = evidence
        self.expires_at = expires_at  # POSIX seconds; infinity where it does not expire
        self.kind = kind
        self.key_id = key_id  # of the API key
        self.issuer = issuer  # of the token
        self.verified_with = verified_with  # identity of the issuer's key
        self.grants: tuple[Grant, ...] | None = None
        self.ended = False
        self._facts: dict[Whereabouts, Facts] = {}

    def facts(self, whereabouts: Whereabouts, at: float) -> Facts:
        """What holds of this caller at that place at `at`; remembered for the last few places."""
        known = self._facts.get(whereabouts)
        if known is not None:
            if known.valid_from <= at < known.valid_until:
                return known
            facts = known.at(at)
        else:
            facts = establish((*self.evidence, *whereabouts.evidence), at)
            if len(self._facts) >= _WHEREABOUTS_KEPT:
                del self._facts[next(iter(self._facts))]
        self._facts[whereabouts] = facts
        return facts


class Callers:
    """Establishes callers and remembers them, within bounds.

    `key_lookup`: the store's record for a digest. `pseudonym_key`: 16 to 64 secret bytes. `clock`: seconds, for the age of
    issuers' keys only. Raises ConfigError where an issuer's keys cannot be fetched safely.
    """

    def __init__(
        self,
        identity: Identity,
        key_lookup: apikey.KeyLookup,
        pseudonym_key: bytes,
        clock: Callable[[], float] = time.monotonic,
        *,
        costly_checks_per_second: int = COSTLY_CHECKS_PER_SECOND,
    ) -> None:
        self._identity = identity
        self._key_lookup = key_lookup
        self._pseudonym_key = pseudonym_key
        self._clock = clock
        self._budget = token.SignatureBudget(costly_checks_per_second)
        self._key_sets = {issuer.issuer: self._key_set(issuer) for issuer in identity.issuers}
        self._known: OrderedDict[bytes, Caller] = OrderedDict()
        self._of_principal: dict[str, set[bytes]] = {}  # credentials in `_known`, so that one principal is forgotten quickly
        self._evicted: WeakSet[Caller] = WeakSet()  # pushed out of `_known`, but still held by a live session
        self._refused: OrderedDict[bytes, tuple[float, Reason, str]] = OrderedDict()
        self.forgettings = 0  # grows whenever callers may have ended, for those who hold them longer

    async def start(self) -> None:
        """Load all issuers' keys and follow them. An issuer that cannot be reached does not stop the others."""
        await asyncio.gather(*(key_set.start() for key_set in self._key_sets.values()))

    async def stop(self) -> None:
        """Stop following the issuers' keys."""
        await asyncio.gather(*(key_set.stop() for key_set in self._key_sets.values()))

    async def reconfigure(self, identity: Identity) -> None:
        """Go on with another configuration: issuers that are not as they were are forgotten, callers and keys."""
        dropped = [key_set for key_set in self._key_sets.values() if key_set.issuer not in identity.issuers]
        added = [self._key_set(issuer) for issuer in identity.issuers if issuer not in self._identity.issuers]
        for key_set in dropped:
            del self._key_sets[key_set.issuer.issuer]
            self.forget_issuer(key_set.issuer.issuer)
        if identity.leeway != self._identity.leeway:  # it is part of every token's expiry
            self._forget(caller for caller in self._all() if caller.kind == "token")
        if not identity.api_keys:
            self._forget(caller for caller in self._all() if caller.kind == "key")
        self._key_sets.update((key_set.issuer.issuer, key_set) for key_set in added)
        self._identity = identity
        self._refused.clear()
        await asyncio.gather(*(key_set.stop() for key_set in dropped), *(key_set.start() for key_set in added))

    def known(self, credential: bytes, at: float) -> Caller | None:
        """The caller established for exactly these bytes, while it lasts. Must stay trivial."""
        caller = self._known.get(credential)
        if caller is not None and at < caller.expires_at:
            return caller
        return None

    async def establish(self, credential: bytes, at: float) -> Caller:
        """The caller for a credential that is not known yet. Raises CredentialError."""
        fingerprint = hashlib.blake2b(credential, digest_size=16).digest()
        refused = self._refused.get(fingerprint)
        if refused is not None and 0.0 <= at - refused[0] < _REFUSED_FOR:
            raise CredentialError(refused[1], refused[2])
        try:
            caller = await self._establish(credential, at)
        except CredentialError as error:
            if error.reason.startswith("caller_"):  # what the gate could not find out is asked again
                self._refused[fingerprint] = at, error.reason, str(error)
                if len(self._refused) > _REFUSALS_KEPT:
                    self._refused.popitem(last=False)
            raise
        known = self.known(credential, at)  # another request with the same credential may have been faster
        if known is not None:
            return known
        self._remember(credential, caller)
        return caller

    def forget_key(self, key_id: str) -> None:
        """An API key was revoked or changed."""
        self._forget(self._of(_key_principal(key_id)))

    def forget_issuer(self, issuer: str) -> None:
        """What an issuer said so far no longer counts: its callers end."""
        self._forget(caller for caller in self._all() if caller.issuer == issuer)

    def forget_grants(self, principal: str) -> None:
        """A grant of this principal changed: whoever needs its grants asks the store again."""
        for caller in self._of(principal):
            caller.grants = None

    def forget_all(self) -> None:
        """What changed in the store is not known: keys end, and everybody's grants are asked for again."""
        self._forget(caller for caller in self._all() if caller.kind == "key")
        for caller in self._all():
            caller.grants = None

    async def _establish(self, credential: bytes, at: float) -> Caller:
        if not apikey.is_api_key(credential):
            return await self._from_token(credential, at)
        if not self._identity.api_keys:
            raise CredentialError(Reason.CALLER_CREDENTIAL_INVALID, "This gate does not accept API keys.")
        self._budget.spend(at)
        while True:
            forgettings = self.forgettings
            record = await apikey.look_up(credential, self._key_lookup, at)
            if forgettings == self.forgettings:  # else the record may be one that was revoked while it was on its way
                break
        principal = _key_principal(record.id)
        expires_at = math.inf if record.expires_at is None else record.expires_at
        return Caller(principal, self._pseudonym(principal), record.evidence, expires_at, kind="key", key_id=record.id)

    async def _from_token(self, credential: bytes, at: float) -> Caller:
        verified = await token.verify(credential, self._key_sets, at, self._identity.leeway, self._budget)
        issuer = verified.issuer.issuer
        principal = f"{issuer}|{verified.subject}"  # no issuer has a `|` (config), so the first one ends it (BYPASSES 47)
        return Caller(
            principal,
            self._pseudonym(principal),
            evidence_of(verified.claims, verified.issuer, verified.issued_at, verified.expires_at),
            verified.expires_at,
            kind="token",
            issuer=issuer,
            verified_with=verified.key,
        )

    def _pseudonym(self, principal: str) -> str:
        return hashlib.blake2b(principal.encode(), key=self._pseudonym_key, digest_size=8).hexdigest()

    def _key_set(self, issuer: Issuer) -> KeySet:
        def removed(keys: frozenset[str]) -> None:
            self._refused.clear()
            self._forget(caller for caller in self._all() if caller.issuer == issuer.issuer and caller.verified_with in keys)

        return KeySet(issuer, removed, self._clock)

    def _remember(self, credential: bytes, caller: Caller) -> None:
        self._discard(credential)  # the same credential, expired
        while len(self._known) >= self._identity.token_cache:
            oldest = next(iter(self._known))
            self._evicted.add(self._known[oldest])
            self._discard(oldest)
        self._known[credential] = caller
        self._of_principal.setdefault(caller.principal, set()).add(credential)

    def _discard(self, credential: bytes) -> None:
        caller = self._known.pop(credential, None)
        if caller is not None:
            credentials = self._of_principal[caller.principal]
            credentials.discard(credential)
            if not credentials:
                del self._of_principal[caller.principal]

    def _all(self) -> list[Caller]:
        return [*self._known.values(), *self._evicted]

    def _of(self, principal: str) -> list[Caller]:
        cached = [self._known[credential] for credential in self._of_principal.get(principal, ())]
        return [*cached, *(caller for caller in self._evicted if caller.principal == principal)]

    def _forget(self, callers: Iterable[Caller]) -> None:
        self.forgettings += 1
        doomed = set(callers)
        for caller in doomed:
            caller.ended = True
            self._evicted.discard(caller)
        principals = {caller.principal for caller in doomed}
        credentials = [credential for principal in principals for credential in self._of_principal.get(principal, ())]
        for credential in credentials:
            if self._known[credential] in doomed:
                self._discard(credential)


def _key_principal(key_id: str) -> str:
    return f"key|{key_id}"
