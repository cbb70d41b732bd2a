"""Distinct callers: a token never seen (verified, evidence, facts) and one seen before (one look-up), over how many are remembered.

Tokens are signed with Ed25519, which 100,000 of them can be made with in seconds; what RS256 costs is measured apart. The limit of new
tokens a second is lifted here, as it would be all that is measured.
"""

import asyncio
import random
import tempfile
import time
from pathlib import Path

from bench.machine import BenchError, median
from bench.scale.apart import resident
from bench.world import AUDIENCE, ISSUER
from frontiergate.config.schema import Claims, Identity
from frontiergate.domain.evidence import Assurance, Evidence, Kind
from frontiergate.identity.caller import Callers
from frontiergate.identity.geoip import Whereabouts
from frontiergate.store.protocol import KeyRecord
from tests.fixtures.idp import IdentityProvider

_CLAIMS = Claims(nationality="nationalities", us_person="us_person")
_SAMPLES = 20_000


def point(count: int, algorithm: str = "EdDSA", remembered: int = 100_000) -> dict[str, float]:
    """One point: µs cold and warm, KiB for each caller remembered. `remembered` is the configuration's `token_cache`."""
    return asyncio.run(_point(count, algorithm, remembered))


async def _no_keys(_digest: str) -> KeyRecord | None:
    return None


async def _point(count: int, algorithm: str, remembered: int) -> dict[str, float]:
    idp = IdentityProvider(ISSUER, AUDIENCE)
    idp.add_key("bench", algorithm)
    at = time.time()
    tokens = [idp.token(at, sub=f"user-{number}", nationalities=["US"], us_person=True) for number in range(count)]
    with tempfile.TemporaryDirectory() as directory:
        issuer = idp.config(idp.write_jwks(Path(directory) / "jwks.json"), claims=_CLAIMS)
        identity = Identity(issuers=(issuer,), token_cache=remembered)
        callers = Callers(identity, _no_keys, b"k" * 32, costly_checks_per_second=10**9)
        await callers.start()
        try:
            return await _measure(callers, tokens, remembered, at)
        finally:
            await callers.stop()


async def _measure(callers: Callers, tokens: list[bytes], remembered: int, at: float) -> dict[str, float]:
    place = Evidence(kind=Kind.LOCATION, value="US", source="geoip", assurance=Assurance.ATTESTED, observed_at=at)
    whereabouts = Whereabouts("US", (), (place,))
    before = resident()
    cold: list[float] = []
    for token in tokens:
        began = time.perf_counter()
        caller = await callers.establish(token, at)
        caller.facts(whereabouts, at)
        cold.append(time.perf_counter() - began)
    grown = resident() - before
    # The tokens were here before, but a worker holds them too.
    kib = grown / len(tokens) + len(tokens[0]) / 1024
    chance = random.Random(1)
    last = tokens[-remembered:]  # those that are
    asked = chance.choices(last, k=_SAMPLES)
    began = time.perf_counter()
    for token in asked:
        known = callers.known(token, at)
        if known is None:
            raise BenchError("a caller was forgotten")
        known.facts(whereabouts, at)
    warm = (time.perf_counter() - began) / len(asked)
    one = {"warm_us": warm * 1e6, "grown_mib": grown / 1024}
    return one if len(tokens) == 1 else one | {"cold_us": median(cold) * 1e6, "kib_per_caller": kib}
