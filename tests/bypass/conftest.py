"""One gate for the whole folder, and a view of it for each test: nothing reaches the upstream that a test does not account for."""

from collections.abc import Iterator

import pytest
from tests.bypass.probe import Probe
from tests.bypass.scripted import Scripted
from tests.fixtures.gate import Gate
from tests.fixtures.idp import IdentityProvider
from tests.fixtures.upstream import Upstream, like_a_model

# The usual models, two that share a name in different dialects, and one at an upstream that does what a test's script says.
MODELS = [
    {
        "id": "openai/gpt-frontier",
        "names": ["gpt-frontier", "gpt-frontier-2026-11-01"],
        "dialects": ["openai"],
        "upstream": "stub",
        "tags": ["frontier"],
    },
    {"id": "openai/gpt-open", "names": ["gpt-open"], "dialects": ["openai", "anthropic"], "upstream": "stub"},
    {"id": "openai/gpt-vetted", "names": ["gpt-vetted"], "dialects": ["openai"], "upstream": "stub"},
    {
        "id": "anthropic/claude-frontier-5",
        "names": ["claude-frontier"],
        "dialects": ["anthropic"],
        "upstream": "stub",
        "tags": ["frontier"],
    },
    {"id": "openai/two-faced", "names": ["two-faced"], "dialects": ["openai"], "upstream": "stub"},
    {"id": "openai/gpt-scripted", "names": ["gpt-scripted"], "dialects": ["openai"], "upstream": "scripted"},
    {"id": "anthropic/two-faced", "names": ["two-faced"], "dialects": ["anthropic"], "upstream": "stub", "tags": ["frontier"]},
]


@pytest.fixture(scope="session")
def shared_upstream() -> Iterator[Upstream]:
    server = Upstream()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def shared_idp() -> IdentityProvider:
    provider = IdentityProvider()
    provider.add_key("k1", "RS256")
    provider.add_key("e1", "ES256")
    return provider


@pytest.fixture(scope="session")
def scripted() -> Iterator[Scripted]:
    server = Scripted()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def gate(
    shared_upstream: Upstream, scripted: Scripted, shared_idp: IdentityProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gate]:
    """A running gate of two workers; tests that change it for good start their own."""
    with Gate(
        tmp_path_factory.mktemp("gate"),
        shared_upstream,
        shared_idp,
        workers=2,
        models=MODELS,
        upstreams={"scripted": {"url": scripted.url}},
    ) as running:
        yield running


@pytest.fixture(scope="session")
def alice(gate: Gate) -> str:
    return gate.token()


@pytest.fixture(scope="session")
def mallory(gate: Gate) -> str:
    return gate.token(sub="mallory", nationalities=["CN"], us_person=False)


@pytest.fixture
def probe(gate: Gate, shared_upstream: Upstream, alice: str, mallory: str) -> Iterator[Probe]:
    """The shared gate. What the test did not account for when it ends is a request that slipped through."""
    shared_upstream.answer = like_a_model
    shared_upstream.going.set()
    view = Probe(gate, shared_upstream, alice, mallory)
    yield view
    shared_upstream.going.clear()
    view.nothing_sent()
