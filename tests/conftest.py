"""Real things for tests: an upstream that records, an identity provider, a running gate."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.gate import Gate
from tests.fixtures.idp import IdentityProvider
from tests.fixtures.upstream import Upstream


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A fresh recording upstream."""
    server = Upstream()
    yield server
    server.stop()


@pytest.fixture
def idp() -> IdentityProvider:
    return IdentityProvider()


@pytest.fixture(scope="module")
def shared_upstream() -> Iterator[Upstream]:
    server = Upstream()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def gate(shared_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """A running gate of two workers, shared by the tests of a module; those that change it for good start their own."""
    with Gate(tmp_path_factory.mktemp("gate"), shared_upstream, workers=2) as running:
        yield running


@pytest.fixture
def new_gate(upstream: Upstream, tmp_path: Path) -> Iterator:
    """Starts gates of a test's own; stops them after it."""
    gates: list[Gate] = []

    def start(**config: object) -> Gate:
        gate = Gate(tmp_path / f"gate{len(gates)}", upstream, **config)
        gates.append(gate)
        return gate.start()

    yield start
    for gate in gates:
        gate.__exit__()
