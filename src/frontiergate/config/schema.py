"""The shape of `frontiergate.yaml`: every key, its type, its default and what it means.

The reference manual and the JSON Schema are generated from this file. Names are fixed (DESIGN 8).
"""

import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from frontiergate.config.units import Duration, Size
from frontiergate.domain.catalogue import Model
from frontiergate.domain.directive import Directive

Port = Annotated[int, Meta(ge=0, le=65535)]
Text = Annotated[str, Meta(min_length=1)]


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One mapping of the file. An unknown key is an error."""


class ServerTls(Part):
    """TLS for callers. With `client_ca`, callers must present a certificate that it signed."""

    certificate: Text
    key: Text
    client_ca: str | None = None


class Address(Part):
    """Where a listener listens: a host and port, or a Unix socket."""

    host: str | None = None
    port: Port | None = None
    unix: str | None = None
    tls: ServerTls | None = None


class Listen(Part):
    data: Address = Address(host="127.0.0.1", port=8080)
    control: Address = Address(host="127.0.0.1", port=9090)
    decision: Address | None = None


class Clients(Part):
    """How the client's address is found. Headers count only where the peer is in `trusted_proxies`."""

    trusted_proxies: tuple[str, ...] = ()  # networks, CIDR
    forwarded: Literal["x-forwarded-for", "forwarded", "proxy-protocol", "none"] = "x-forwarded-for"


class GeoIP(Part):
    """Databases in MaxMind's format; a file may be replaced while the gate runs."""

    country: str | None = None
    anonymous: str | None = None
    asn: str | None = None
    max_age: Duration = Duration(45 * 86400)


class Claims(Part):
    """Where an issuer's tokens carry each fact: a claim's name, or a path with dots. A claim whose name itself has dots
    or slashes (a namespaced URL) is found by its whole name first."""

    subject: str = "sub"
    nationality: str | None = None
    us_person: str | None = None
    residence: str | None = None
    organisation: str | None = None
    organisation_country: str | None = None
    cohorts: str | None = None


class Issuer(Part):
    """One pinned token issuer; `issuer` and `audiences` are compared exactly."""

    issuer: Text
    jwks: Text  # URL or file path
    audiences: Annotated[tuple[str, ...], Meta(min_length=1)]
    algorithms: tuple[
        Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"], ...
    ] = ("RS256", "ES256", "EdDSA")
    assurance: Literal["asserted", "attested", "verified"] = "attested"
    claims: Claims = Claims()
    trust_frameworks: tuple[str, ...] = ()  # verified_claims of these frameworks are worth `verified`; of others, `assurance`
    keys_max_age: Duration = Duration(86400)  # how long fetched keys are used while the issuer cannot be reached
    keys_refresh: Duration = Duration(300)


class Identity(Part):
    issuers: tuple[Issuer, ...] = ()
    api_keys: bool = True
    header: str | None = None  # a further header that carries the credential, where a platform needs its own
    token_cache: Annotated[int, Meta(ge=1)] = 100_000
    leeway: Duration = Duration(30)  # accepted clock skew for exp, nbf and iat; at most 60s


class UpstreamCredential(Part):
    """The upstream's own credential: `header: scheme value`, the value from the environment or a file."""

    header: Text = "authorization"
    scheme: str | None = None
    env: str | None = None
    file: str | None = None


class Upstream(Part):
    url: Text
    credential: UpstreamCredential | None = None
    ca: str | None = None  # a CA bundle to verify the upstream with, instead of the system's
    idle_connections: Annotated[int, Meta(ge=0)] = 64
    max_connections: Annotated[int, Meta(ge=1)] = 1024


class CountryGroup(Part):
    """A named set of countries with its source; the short form is a plain list."""

    countries: tuple[str, ...]
    source: str | None = None
    date: datetime.date | None = None
    expires: datetime.date | None = None


class Programme(Part):
    """A vetting process."""

    title: Text
    reviewers: tuple[str, ...] = ("role:reviewer",)
    approvals: Annotated[int, Meta(ge=1)] = 1
    grant: Duration = Duration(90 * 86400)
    target: Duration = Duration(72 * 3600)
    open_cases: Literal["automatically", "on_request"] = "on_request"


class Enforcement(Part):
    lease: Duration = Duration(5)
    loosening: Literal["second_person", "immediate"] = "immediate"


class Hold(Part):
    wait: Duration = Duration(0)
    max_requests: int = 1000
    max_bytes: Size = Size(256 << 20)


class Limits(Part):
    head: Size = Size(64 << 10)
    body: Size = Size(32 << 20)
    connections: Annotated[int, Meta(ge=1)] = 10_000  # per worker
    idle: Duration = Duration(75)  # a client connection between requests
    head_timeout: Duration = Duration(10)
    body_timeout: Duration = Duration(30)  # between two reads of a body
    connect_timeout: Duration = Duration(5)
    first_byte_timeout: Duration = Duration(600)
    stream_idle: Duration = Duration(300)  # between two reads from the upstream, or with a client that reads nothing
    drain: Duration = Duration(30)  # what SIGTERM leaves to live sessions


class Audit(Part):
    path: str = "audit/"
    durability: Literal["batched", "strict"] = "batched"
    address: Literal["truncated", "full", "none"] = "truncated"


class Operator(Part):
    """Someone who may use the control plane: a bearer token, known by its SHA-256 or read from a file or the environment."""

    name: Text
    roles: tuple[Literal["viewer", "operator", "reviewer", "auditor", "admin"], ...] = ("viewer",)
    token_sha256: str | None = None
    token_env: str | None = None
    token_file: str | None = None


class Control(Part):
    operators: tuple[Operator, ...] = ()
    oidc: None = None


class Config(Part):
    """`frontiergate.yaml`."""

    listen: Listen = Listen()
    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    clients: Clients = Clients()
    geoip: GeoIP = GeoIP()
    identity: Identity = Identity()
    upstreams: dict[str, Upstream] = {}
    models: tuple[Model, ...] = ()
    country_groups: dict[str, CountryGroup | tuple[str, ...]] = {}
    programmes: dict[str, Programme] = {}
    directives: tuple[Directive, ...] = ()
    store: str = "sqlite:///var/lib/frontiergate/state.db"
    enforcement: Enforcement = Enforcement()
    hold: Hold = Hold()
    limits: Limits = Limits()
    audit: Audit = Audit()
    control: Control = Control()
    docs_url: str = "https://frontiergate.example/docs"  # where refusals send people
