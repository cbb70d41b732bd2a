"""Grants: their states and when they count (DESIGN 4.3)."""

import itertools

import pytest

from frontiergate.domain.vetting import TRANSITIONS, GrantState, active, move
from tests.reference.made import grant

LEGAL = {
    ("active", "suspended"),
    ("suspended", "active"),
    *itertools.product(("active", "suspended"), ("revoked", "lapsed", "superseded")),
}


@pytest.mark.parametrize(("state", "to"), list(itertools.product(GrantState, GrantState)))
def test_grants_move_as_the_table_says_and_not_otherwise(state, to):
    assert (to in TRANSITIONS[state]) == ((state, to) in LEGAL)
    if (state, to) in LEGAL:
        assert move(grant(state=state), to).state is to
    else:
        with pytest.raises(ValueError, match=f"is {state} and cannot become {to}"):
            move(grant(state=state), to)


@pytest.mark.parametrize("state", list(GrantState))
def test_only_an_active_grant_counts_and_only_before_its_expiry(state):
    assert active(grant(state=state, expires_at=10.0), 9.9) == (state is GrantState.ACTIVE)
    assert not active(grant(state=state, expires_at=10.0), 10.0)
