"""BYPASSES 56: the GeoIP database. A bad one is never believed, and a good one that is replaced counts at once for everybody."""

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bypass.probe import eventually
from tests.fixtures import mmdb
from tests.fixtures.gate import ORDER, Gate
from tests.fixtures.upstream import Upstream

HERE = {
    "models": [{"id": "openai/gpt-here", "names": ["gpt-here"], "dialects": ["openai"], "upstream": "stub"}],
    "directives": [
        {"id": "here-1", "order": ORDER, "models": ["openai/gpt-here"], "require": {"location": {"any_in": ["US"]}}, "otherwise": "refuse"}
    ],
}
ASKED = {"model": "gpt-here", "messages": []}


def missing(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("spoil", [missing, mmdb.truncated, mmdb.wrong_type])
def test_56_a_gate_without_a_usable_database_does_not_serve(upstream: Upstream, tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    gate = Gate(tmp_path / "gate", upstream, **HERE)
    spoil(gate.database)
    try:
        gate.start(wait=False)
        gate.wait_log(lambda lines: any("country.mmdb" in str(line) for line in lines))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", gate.port)).close()
    finally:
        gate.__exit__()
    assert upstream.connections == 0


def test_56_a_database_that_is_too_old_knows_no_place(upstream: Upstream, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate", upstream, **HERE)
    mmdb.country(gate.database, {"127.0.0.0/8": "US"}, built=time.time() - 46 * 86400)
    with gate:
        assert gate.call(ASKED).reason == "policy_location"
    assert upstream.connections == 0


def test_56_a_bad_replacement_is_refused_and_a_good_one_counts(upstream: Upstream, tmp_path: Path) -> None:
    with Gate(tmp_path / "gate", upstream, **HERE) as gate:
        assert gate.call(ASKED).status == 200
        spoiled = tmp_path / "spoiled.mmdb"
        mmdb.truncated(spoiled)
        spoiled.replace(gate.database)
        gate.wait_log(lambda lines: any("GeoIP database refused" in line["message"] for line in lines))
        assert gate.call(ASKED).status == 200
        assert gate.call(ASKED, source="127.0.0.2").reason == "policy_location"
        mmdb.country(gate.database, {"127.0.0.0/8": "CN", "127.0.0.2/32": "US"})
        eventually(lambda: gate.call(ASKED), lambda reply: reply.reason == "policy_location")
        assert gate.call(ASKED, source="127.0.0.2").status == 200, "what was remembered of an address is forgotten too"
