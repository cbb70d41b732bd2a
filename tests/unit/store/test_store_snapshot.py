"""A snapshot's file: what is in it, who may read it, and what is not taken for one."""

import errno
import json
import os
import pathlib
import re
import stat
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from snapshot_stories import HISTORY, Keys, fill, held, take_in, take_out

from frontiergate.errors import StoreError
from frontiergate.store import snapshot
from frontiergate.store.ledger import scratch


@pytest.fixture
def keys(tmp_path: pathlib.Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
def url(tmp_path: pathlib.Path) -> str:
    return f"sqlite://{tmp_path}/state.db"


@pytest.fixture
def empty(tmp_path: pathlib.Path) -> str:
    return f"sqlite://{tmp_path}/other.db"


@pytest.fixture
def file(tmp_path: pathlib.Path, url: str, keys: Keys) -> pathlib.Path:
    """A snapshot of HISTORY."""
    fill(url)
    take_out(url, tmp_path / "snapshot.jsonl", keys)
    return tmp_path / "snapshot.jsonl"


def lines(file: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_bytes().splitlines()]


def signed(file: pathlib.Path, keys: Keys, change: Callable[[list[bytes]], object]) -> None:
    """Change a snapshot's lines and sign it again, as another version would."""
    parts = file.read_bytes().splitlines(keepends=True)[:-1]
    change(parts)
    body = b"".join(parts)
    file.write_bytes(body)
    with open(file, "rb+") as opened:
        digest = snapshot.digest_of(opened, len(body))
        opened.seek(0, 2)
        opened.write(snapshot.signature_line(keys.signing, digest))


def test_everything_is_in_it(file: pathlib.Path, url: str, keys: Keys) -> None:
    head, *body, signature = lines(file)
    assert head == {
        "format": "frontiergate snapshot",
        "version": 1,
        "lineage": held(url).position.lineage,
        "epoch": len(HISTORY),
        "directives": 1,
        "pauses": 1,
        "grants": 3,
        "keys": 2,
        "signer": keys.signing.name,
    }
    assert [next(iter(line)) for line in body] == ["entry"] * len(HISTORY) + ["directive", "pause"] + ["grant"] * 3 + ["key"] * 2
    assert [line["entry"]["epoch"] for line in body[: len(HISTORY)]] == list(range(1, len(HISTORY) + 1))
    assert {line["grant"]["id"]: line["grant"]["state"] for line in body if "grant" in line} == {
        "g1": "suspended",
        "g2": "revoked",
        "g3": "active",
    }
    assert list(signature) == ["signature"]


def test_only_its_owner_may_read_it(file: pathlib.Path) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir() if path.name.startswith("snapshot")] == ["snapshot.jsonl"]


def test_the_same_log_makes_the_same_bytes(file: pathlib.Path, url: str, keys: Keys) -> None:
    take_out(url, file.with_name("again"), keys)
    assert file.with_name("again").read_bytes() == file.read_bytes()


def test_a_file_that_is_there_is_not_written_over(file: pathlib.Path, url: str, keys: Keys) -> None:
    before = file.read_bytes()
    with pytest.raises(StoreError, match="exists: name another file"):
        take_out(url, file, keys)
    assert file.read_bytes() == before


@pytest.mark.parametrize("where", ["no-such-folder/x", "signer.pem/x"])
def test_a_folder_that_is_none_is_told(file: pathlib.Path, url: str, keys: Keys, where: str) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        take_out(url, file.parent / where, keys)


def test_what_cannot_be_finished_leaves_nothing(file: pathlib.Path, url: str, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = sorted(file.parent.iterdir())
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="cannot be written: No space left on device; check the folder and its free space"):
        take_out(url, file.with_name("again"), keys)
    assert sorted(file.parent.iterdir()) == before


def test_an_empty_store_can_be_moved_too(url: str, empty: str, tmp_path: pathlib.Path, keys: Keys) -> None:
    fill(url, ())
    take_out(url, tmp_path / "nothing", keys)
    take_in(empty, tmp_path / "nothing", keys)
    assert held(empty) == held(url)


class TestNoOtherFileIsTaken:
    @pytest.fixture(autouse=True)
    def nothing_is_imported(self, empty: str) -> Iterator[None]:
        fill(empty, ())
        before = held(empty)
        yield
        assert held(empty) == before

    @pytest.fixture
    def refusal(self, file: pathlib.Path, empty: str, keys: Keys) -> Callable[[], str]:
        def attempt() -> str:
            with pytest.raises(StoreError) as caught:
                take_in(empty, file, keys)
            assert str(file) in str(caught.value)
            return str(caught.value)

        return attempt

    def test_cut_off_anywhere(self, file: pathlib.Path, refusal: Callable[[], str]) -> None:
        whole = file.read_bytes()
        for length in [*range(400, len(whole), 173), len(whole) - 1]:
            file.write_bytes(whole[:length])
            assert "has no signature at its end: it is cut off" in refusal()
        file.write_bytes(whole[:100])
        assert "is no snapshot of a store" in refusal()

    @pytest.mark.parametrize("text", [b"", b"\n", b"hello\n", b"{}\n", b'{"format":"other","version":1}\n', b"\x00" * 10_000])
    def test_of_another_kind(self, file: pathlib.Path, refusal: Callable[[], str], text: bytes) -> None:
        file.write_bytes(text)
        assert "is no snapshot of a store: name a file that `frontiergate store export` wrote" in refusal()

    def test_without_its_signature(self, file: pathlib.Path, refusal: Callable[[], str]) -> None:
        file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
        assert "has no signature at its end" in refusal()

    def test_with_something_added(self, file: pathlib.Path, refusal: Callable[[], str]) -> None:
        file.write_bytes(file.read_bytes() + b"{}\n")
        assert "has no signature at its end" in refusal()

    def test_with_one_letter_changed(self, file: pathlib.Path, keys: Keys, refusal: Callable[[], str]) -> None:
        whole = file.read_bytes()
        file.write_bytes(whole.replace(b'"suspended"', b'"activated"', 1))
        assert f"was changed after it was signed with key {keys.signing.name}" in refusal()
        file.write_bytes(whole.replace(b'"lineage"', b'"lineagE"', 1))
        assert "was changed after it was signed" in refusal()
        file.write_bytes(whole.replace(b'"signature":"', b'"signature":"A', 1).replace(b'="}', b'"}'))
        assert "was changed after it was signed" in refusal()
        file.write_bytes(whole[:-20] + b"*" + whole[-19:])
        assert "has no signature at its end" in refusal()

    def test_of_another_signer(self, file: pathlib.Path, empty: str, keys: Keys) -> None:
        other = Keys(file.parent, "other")
        with pytest.raises(StoreError, match=f"signed with key {keys.signing.name}, and {other.signing.name} was named"):
            take_in(empty, file, other)

    def test_of_a_newer_version(self, file: pathlib.Path, keys: Keys, refusal: Callable[[], str]) -> None:
        file.write_bytes(b'{"format":"frontiergate snapshot","version":2,"of":["things","to","come"]}\nin any form\n')
        assert "was made by a newer Frontier Gate (snapshot version 2; this one knows 1): upgrade first" in refusal()

    def test_that_is_not_there(self, file: pathlib.Path, refusal: Callable[[], str]) -> None:
        file.unlink()
        assert "cannot be read: No such file or directory" in refusal()

    def test_with_more_than_this_version_knows(self, file: pathlib.Path, keys: Keys, refusal: Callable[[], str]) -> None:
        signed(file, keys, lambda parts: parts.__setitem__(3, parts[3].replace(b'"actor":', b'"on_behalf_of":"x","actor":')))
        assert "line 4: more than this version knows; import it with the version that made it" in refusal()

    def test_with_a_change_that_this_version_has_not(self, file: pathlib.Path, keys: Keys, refusal: Callable[[], str]) -> None:
        signed(file, keys, lambda parts: parts.__setitem__(3, parts[3].replace(b'"grant_issued"', b'"grant_sold"')))
        assert "line 4: no entry that this version can read (Invalid value 'grant_sold'" in refusal()

    def test_with_a_log_that_does_not_follow(self, file: pathlib.Path, keys: Keys, empty: str) -> None:
        signed(file, keys, lambda parts: parts.__setitem__(3, parts[2]))
        with pytest.raises(StoreError, match="the log has a gap: entry 2 comes after entry 2"):
            take_in(empty, file, keys)

    def test_with_an_entry_that_cannot_be(self, file: pathlib.Path, keys: Keys, empty: str) -> None:
        signed(file, keys, lambda parts: parts.__setitem__(6, parts[3].replace(b'"epoch":3', b'"epoch":6')))
        with pytest.raises(StoreError, match="entry 6 of the log cannot follow those before it: grant 'g1' exists"):
            take_in(empty, file, keys)

    @pytest.mark.parametrize("line", range(1 + len(HISTORY), 1 + len(HISTORY) + 7))
    def test_with_other_things_than_its_log_adds_up_to(self, file: pathlib.Path, keys: Keys, refusal: Callable[[], str], line: int) -> None:
        signed(file, keys, lambda parts: parts.pop(line))
        assert re.search(r"line \d+: it is in force otherwise than its log says|goes on behind its log", refusal())

    def test_with_another_state_than_its_log_says(self, file: pathlib.Path, keys: Keys, refusal: Callable[[], str]) -> None:
        number = 1 + len(HISTORY) + 2
        signed(file, keys, lambda parts: parts.__setitem__(number, parts[number].replace(b'"suspended"', b'"active"')))
        assert f"line {number + 1}: it is in force otherwise than its log says" in refusal()

    def test_with_more_behind_its_log(self, file: pathlib.Path, keys: Keys, refusal: Callable[[], str]) -> None:
        signed(file, keys, lambda parts: parts.append(parts[-1]))
        assert "goes on behind its log" in refusal()


def test_what_changes_while_it_is_read_is_noticed(file: pathlib.Path, empty: str, keys: Keys) -> None:
    whole = file.read_bytes()
    with snapshot.opened(file, keys.verifying) as found:
        file.write_bytes(whole.replace(b'"reason":"because"', b'"reason":"becausE"', 1))
        with pytest.raises(StoreError, match="was changed while it was read"), scratch() as ledger:
            list(found.replay(ledger))
