"""The last policy seen: private, replaced whole, moved on by lines; read back as it was, or not at all."""

import pathlib

import pytest
from store_contract import directive, grant, pause

from frontiergate.errors import StoreError, StoreUnavailable
from frontiergate.store import lastseen
from frontiergate.store.lastseen import LastSeen, Seen
from frontiergate.store.lineage import mark_of
from frontiergate.store.protocol import (
    Change,
    DirectiveAdded,
    DirectiveLifted,
    Entry,
    GrantChanged,
    GrantIssued,
    ModelPaused,
    PolicyState,
    StoredDirective,
)
from frontiergate.store.replay import replayed


def entry(epoch: int, change: Change) -> Entry:
    return Entry(epoch=epoch, at=float(epoch), actor="olga", reason="because", change=change)


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "last-seen.json"


def seen_after(state: PolicyState, entries: list[Entry]) -> Seen:
    return Seen(replayed(state, entries), mark_of(entries[-1]))


STATE = PolicyState(3, (StoredDirective(directive("b"), 3, "olga", 1.0),), (pause("m/one"),), "l1")
ENTRIES = [entry(4, DirectiveAdded(directive("a"))), entry(5, ModelPaused(pause("m/two"))), entry(6, DirectiveLifted("b"))]


def test_it_is_private_and_comes_back_as_it_was(path: pathlib.Path) -> None:
    seen = LastSeen(str(path))
    assert seen.load() is None
    for state in (Seen(PolicyState(2, (), (), "l1"), None), Seen(STATE, "marked")):
        seen.keep(state, None)
        assert LastSeen(str(path)).load() == state
    assert path.stat().st_mode & 0o777 == 0o600
    assert [found.name for found in path.parent.iterdir()] == ["last-seen.json"]
    with pytest.raises(StoreError, match="cannot be read"):
        LastSeen(str(path.parent)).load()


def test_each_change_of_policy_costs_a_line(path: pathlib.Path) -> None:
    seen, state = LastSeen(str(path)), STATE
    seen.keep(Seen(STATE, None), None)
    for number, change in enumerate(ENTRIES, start=1):
        now = seen_after(state, [change])
        seen.keep(now, [change])
        assert LastSeen(str(path)).load() == now
        assert len(path.read_bytes().splitlines()) == 2 + number
        state = now.state


def test_of_what_the_policy_does_not_show_it_is_kept_that_it_came_and_no_more(path: pathlib.Path) -> None:
    """A store that lost the end of a grant went back, though no policy shows it; whose grant it was is not for this file."""
    seen = LastSeen(str(path))
    seen.keep(Seen(STATE, None), None)
    grants = [entry(4, GrantIssued(grant("g"))), entry(5, GrantChanged("g", "revoked", "https://idp.example|alice"))]
    for entries in (grants, [entry(6, ENTRIES[0].change), entry(7, GrantIssued(grant("h")))]):
        now = seen_after(STATE, entries)
        seen.keep(now, entries)
        assert LastSeen(str(path)).load() == now
    assert now.state.epoch == 7
    assert b"alice" not in path.read_bytes()
    assert len(path.read_bytes().splitlines()) == 2 + 1 + 2


def test_a_line_that_was_being_written_counts_for_nothing(path: pathlib.Path) -> None:
    seen = LastSeen(str(path))
    seen.keep(Seen(STATE, None), None)
    seen.keep(seen_after(STATE, ENTRIES[:2]), ENTRIES[:2])
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    assert LastSeen(str(path)).load() == seen_after(STATE, ENTRIES[:1])


def test_after_a_restart_the_file_is_written_anew(path: pathlib.Path) -> None:
    LastSeen(str(path)).keep(Seen(STATE, None), None)
    with path.open("ab") as file:
        file.write(b'{"torn')
    now = seen_after(STATE, ENTRIES[:1])
    LastSeen(str(path)).keep(now, ENTRIES[:1])
    assert LastSeen(str(path)).load() == now


def test_many_entries_are_folded_into_the_state(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lastseen, "_LONGEST", 2)
    seen, now = LastSeen(str(path)), Seen(STATE, None)
    seen.keep(now, None)
    for change in ENTRIES:
        now = seen_after(now.state, [change])
        seen.keep(now, [change])
    assert len(path.read_bytes().splitlines()) == 1 + len(now.state.directives)
    assert LastSeen(str(path)).load() == now


def test_what_could_not_be_written_is_written_whole_the_next_time(path: pathlib.Path) -> None:
    seen = LastSeen(str(path))
    seen.keep(Seen(STATE, None), None)
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreUnavailable, match="check the folder"):
        seen.keep(seen_after(STATE, ENTRIES[:1]), ENTRIES[:1])
    path.rmdir()
    now = seen_after(STATE, ENTRIES[:2])
    seen.keep(now, ENTRIES[1:2])
    assert LastSeen(str(path)).load() == now


@pytest.mark.parametrize(
    "damage", [lambda lines: lines[:1], lambda lines: [b"{}", *lines[1:]], lambda lines: [*lines[:2], lines[3], lines[2], b""]]
)
def test_half_a_policy_is_none(path: pathlib.Path, damage: object) -> None:
    seen = LastSeen(str(path))
    seen.keep(Seen(STATE, None), None)
    seen.keep(seen_after(STATE, ENTRIES), ENTRIES)
    path.write_bytes(b"\n".join(damage(path.read_bytes().split(b"\n"))))  # type: ignore[operator]
    with pytest.raises(StoreError, match="or remove it"):
        LastSeen(str(path)).load()
