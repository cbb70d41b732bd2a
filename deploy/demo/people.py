"""The four people of the demo, as their identity provider knows them."""

import json
import time
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from tests.fixtures.idp import IdentityProvider, b64

TOKEN_LIFE: Final = 12 * 3600  # seconds: a working day with `make run`


class Person(msgspec.Struct, frozen=True):
    """Someone with a token. `claims` are all that it says beside the subject."""

    subject: str
    who: str
    claims: Mapping[str, Any]


PEOPLE: Final = (
    Person("alice", "US national, US person", {"nationalities": ["US"], "us_person": True}),
    Person("bruno", "French national, no US person", {"nationalities": ["FR"], "us_person": False}),
    Person("chen", "Chinese national, US permanent resident and so a US person", {"nationalities": ["CN"], "us_person": True}),
    Person("dana", "nothing is known of Dana's nationality", {}),
)


def tokens(provider: IdentityProvider, at: float | None = None) -> dict[str, str]:
    """A token for each of them, by the name of the variable that holds it, e.g. `TOKEN_ALICE`."""
    now = time.time() if at is None else at
    return {
        f"TOKEN_{person.subject.upper()}": provider.token(
            now, sub=person.subject, exp=int(now) + TOKEN_LIFE, **dict(person.claims)
        ).decode()
        for person in PEOPLE
    }


def tampered(token: str, **claims: object) -> str:
    """`token` with other claims under its old signature."""
    header, payload, signature = token.split(".")
    said = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return f"{header}.{b64({**said, **claims})}.{signature}"
