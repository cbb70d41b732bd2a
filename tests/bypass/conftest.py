"""One gate for the whole folder, and a view of it for each test: nothing reaches the upstream that a test does not account for."""

import hashlib
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.bypass.keys import hostile_keys
from tests.bypass.probe import Probe
from tests.bypass.scripted import Scripted
from tests.bypass.tlsserver import Authority, TlsServer
from tests.fixtures.gate import ORDER, Gate
from tests.fixtures.idp import IdentityProvider
from tests.fixtures.upstream import Upstream, like_a_model

CLAIMS = {
    "nationality": "nationalities",
    "us_person": "us_person",
    "residence": "address.country",
    "organisation": "org_id",
    "organisation_country": "org_country",
    "cohorts": "groups",
}
ISSUERS = [
    {"issuer": "https://idp.example", "jwks": "jwks.json", "audiences": ["frontier-gate"], "claims": CLAIMS, "trust_frameworks": ["eidas"]},
    {"issuer": "https://other.example", "jwks": "other.json", "audiences": ["frontier-gate"], "claims": CLAIMS},
]


def _model(
    id: str, *names: str, dialects: tuple[str, ...] = ("openai",), upstream: str = "stub", tags: tuple[str, ...] = ()
) -> dict[str, object]:
    return {"id": id, "names": names, "dialects": dialects, "upstream": upstream, "tags": tags}


# The usual models, two that share a name in different dialects, and one at an upstream that does what a test's script says.
MODELS = [
    _model("openai/gpt-frontier", "gpt-frontier", "gpt-frontier-2026-11-01", tags=("frontier",)),
    _model("openai/gpt-open", "gpt-open", dialects=("openai", "anthropic")),
    _model("openai/gpt-vetted", "gpt-vetted", "gpt-vetted-alias"),
    _model("openai/gpt-vetted-too", "gpt-vetted-too"),
    _model("openai/gpt-allied", "gpt-allied"),
    _model("openai/gpt-here", "gpt-here"),
    _model("anthropic/claude-frontier-5", "claude-frontier", dialects=("anthropic",), tags=("frontier",)),
    _model("openai/two-faced", "two-faced"),
    _model("anthropic/two-faced", "two-faced", dialects=("anthropic",), tags=("frontier",)),
    _model("openai/gpt-scripted", "gpt-scripted", upstream="scripted"),
    *(_model(f"openai/gpt-{what}", f"gpt-{what}", upstream=what) for what in ("trusted", "untrusted", "misnamed", "expired")),
    _model("openai/gpt-slow", "gpt-slow", upstream="slow"),
    *(_model(f"openai/gpt-spare-{n}", f"gpt-spare-{n}") for n in range(8)),  # for tests that withdraw one
]
DIRECTIVES = [
    {"id": "is-2026-014", "order": ORDER, "models": [{"tag": "frontier"}], "require": {"us_person": True}, "otherwise": "refuse"},
    {"id": "caisi-1", "order": ORDER, "models": ["openai/gpt-vetted*"], "require": {"never": True}, "otherwise": {"vet": "caisi"}},
    {
        "id": "allied-1",
        "order": ORDER,
        "models": ["openai/gpt-allied"],
        "require": {"nationality": {"all_in": ["five_eyes"]}, "assurance": "attested"},
        "otherwise": "refuse",
    },
    {"id": "here-1", "order": ORDER, "models": ["openai/gpt-here"], "require": {"location": {"any_in": ["US"]}}, "otherwise": "refuse"},
]
OPERATORS = [
    {"name": "olga", "roles": ["admin"], "token_file": "operator-token"},
    *(
        {"name": role, "roles": [role], "token_sha256": hashlib.sha256(f"token-of-{role}".encode()).hexdigest()}
        for role in ("viewer", "operator", "reviewer", "auditor")
    ),
]
USUAL = {"models": MODELS, "directives": DIRECTIVES, "identity": {"issuers": ISSUERS}, "control": {"operators": OPERATORS}}


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
    provider.extra_jwks = [published for _, published in hostile_keys().values()]
    return provider


@pytest.fixture(scope="session")
def other_idp() -> IdentityProvider:
    provider = IdentityProvider("https://other.example")
    provider.add_key("k1", "ES256")
    return provider


@pytest.fixture(scope="session")
def scripted() -> Iterator[Scripted]:
    server = Scripted()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def full() -> Iterator[str]:
    """An upstream that takes no connection: its queue is full, so that who connects waits (Linux drops the SYN)."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, socket.create_connection(listener.getsockname()):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def tls_servers(authority: Authority) -> Iterator[Callable[[str], TlsServer]]:
    """Upstreams over TLS, by what is wrong with each: `untrusted` is good, but its authority is not known to the gate."""
    made = {
        what: TlsServer(authority.server_context(host, days))
        for what, host, days in (
            ("trusted", "localhost", 30),
            ("untrusted", "localhost", 31),
            ("misnamed", "evil.example", 30),
            ("expired", "localhost", -1),
        )
    }
    yield made.__getitem__
    for server in made.values():
        server.stop()


@pytest.fixture(scope="session")
def gate(
    shared_upstream: Upstream,
    scripted: Scripted,
    full: str,
    authority: Authority,
    tls_servers: Callable[[str], TlsServer],
    shared_idp: IdentityProvider,
    other_idp: IdentityProvider,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Gate]:
    """A running gate of two workers; tests that change it for good start their own."""
    upstreams: dict[str, object] = {"scripted": {"url": scripted.url}, "slow": {"url": full}}
    for what in ("trusted", "misnamed", "expired"):
        upstreams[what] = {"url": f"https://localhost:{tls_servers(what).port}", "ca": str(authority.path)}
    upstreams["untrusted"] = {"url": f"https://localhost:{tls_servers('untrusted').port}"}
    started = Gate(tmp_path_factory.mktemp("gate"), shared_upstream, shared_idp, workers=2, upstreams=upstreams, **USUAL)
    other_idp.write_jwks(started.directory / "other.json")
    with pytest.MonkeyPatch.context() as environment:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):  # what other clients obey
            environment.setenv(name, "http://127.0.0.1:9")
        started.start()
    yield started
    started.__exit__()


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
