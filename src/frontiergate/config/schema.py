"""The shape of `frontiergate.yaml`: every key, its type, its default and what it means.

The reference manual and the JSON Schema are generated from this file: a key's meaning is the `Doc` beside its type, or the
docstring of the part that it holds. Names are fixed (DESIGN 8).
"""

import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from frontiergate.config.units import Duration, Size, duration, size
from frontiergate.domain.catalogue import Model
from frontiergate.domain.directive import Directive


def Doc(text: str) -> Meta:  # noqa: N802  (it stands in type annotations, where a class would)
    """What a key means; one source for the reference manual, the JSON Schema and the reader of this file."""
    return Meta(description=text)


Port = Annotated[int, Meta(ge=0, le=65535)]
Text = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=1)]
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
Role = Literal["viewer", "operator", "reviewer", "auditor", "admin"]


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One mapping of the file. An unknown key is an error."""


class ServerTls(Part, frozen=True):
    """TLS for callers."""

    certificate: Annotated[Text, Doc("the certificate chain, a PEM file")]
    key: Annotated[Text, Doc("its private key, a PEM file")]
    client_ca: Annotated[str | None, Doc("a PEM file; callers must present a certificate that it signed")] = None


class Address(Part, frozen=True):
    """Where a listener listens: a host and port, or a Unix socket."""

    host: Annotated[str | None, Doc("an IP address or host name, together with `port`")] = None
    port: Annotated[Port | None, Doc("0 takes a free port")] = None
    unix: Annotated[
        str | None, Doc("the path of a Unix socket, instead of `host` and `port`; whoever connects there counts as 127.0.0.1")
    ] = None
    tls: ServerTls | None = None


class Listen(Part, frozen=True):
    """The listeners. The control plane is never reachable through the data listener."""

    data: Annotated[Address, Doc("where callers send their requests to models")] = Address(host="127.0.0.1", port=8080)
    control: Annotated[Address, Doc("the admin API, the console, metrics and health")] = Address(host="127.0.0.1", port=9090)
    decision: Annotated[Address | None, Doc("a third listener, for Envoy ext_authz, nginx auth_request and ForwardAuth")] = None


class Clients(Part, frozen=True):
    """How the client's address is found. Headers count only where the peer is in `trusted_proxies`."""

    trusted_proxies: Annotated[tuple[str, ...], Doc("networks (CIDR) of the proxies in front of the gate")] = ()
    forwarded: Annotated[
        Literal["x-forwarded-for", "forwarded", "proxy-protocol", "none"], Doc("how those proxies say who called them")
    ] = "x-forwarded-for"


class GeoIP(Part, frozen=True):
    """Databases in MaxMind's format; a file may be replaced while the gate runs."""

    country: Annotated[str | None, Doc("a country or city database; without it every location is unknown")] = None
    anonymous: Annotated[str | None, Doc("an anonymous-IP database; without it every network is unknown")] = None
    asn: Annotated[str | None, Doc("an ASN database")] = None
    max_age: Annotated[Duration, Doc("a database built longer ago than this tells nothing any more")] = duration("45d")


class Claims(Part, frozen=True):
    """Where an issuer's tokens carry each fact: a claim's name, or a path with dots. A claim whose name itself has dots
    or slashes (a namespaced URL) is found by its whole name first. A fact without a claim is not read."""

    subject: Annotated[Text, Doc("who the caller is, within the issuer")] = "sub"
    nationality: Annotated[str | None, Doc("one country or a list")] = None
    us_person: Annotated[str | None, Doc("true or false")] = None
    residence: Annotated[str | None, Doc("the country of permanent residence")] = None
    organisation: Annotated[str | None, Doc("who employs the caller")] = None
    organisation_country: Annotated[str | None, Doc("where that organisation is organised and owned; one country or a list")] = None
    cohorts: Annotated[str | None, Doc("the groups that the caller is in")] = None


class Issuer(Part, frozen=True):
    """One pinned token issuer."""

    issuer: Annotated[Text, Doc("compared exactly with the claim `iss`")]
    jwks: Annotated[Text, Doc("where its keys are: an https URL, or a file")]
    audiences: Annotated[tuple[str, ...], Meta(min_length=1), Doc("compared exactly with the claim `aud`; one must match")]
    algorithms: Annotated[tuple[Algorithm, ...], Meta(min_length=1), Doc("the signatures that are accepted")] = ("RS256", "ES256", "EdDSA")
    assurance: Annotated[Literal["asserted", "attested", "verified"], Doc("what this issuer's plain claims are worth")] = "attested"
    claims: Claims = Claims()
    trust_frameworks: Annotated[
        tuple[str, ...], Doc("`verified_claims` of these frameworks are worth `verified`; those of others, `assurance`")
    ] = ()
    keys_max_age: Annotated[Duration, Doc("how long fetched keys are used while the issuer cannot be reached")] = duration("1d")
    keys_refresh: Annotated[Duration, Doc("how often its keys are fetched")] = duration("5m")


class Identity(Part, frozen=True):
    """Who is calling: the credentials that are accepted and what they are worth."""

    issuers: Annotated[tuple[Issuer, ...], Doc("the token issuers; no other is accepted")] = ()
    api_keys: Annotated[bool, Doc("whether API keys issued by the gate are accepted")] = True
    header: Annotated[str | None, Doc("one more header that carries the credential, where a platform needs its own")] = None
    token_cache: Annotated[Count, Doc("how many verified tokens each worker remembers")] = 100_000
    leeway: Annotated[Duration, Doc("accepted clock skew for `exp`, `nbf` and `iat`; at most 60s")] = duration("30s")


class UpstreamCredential(Part, frozen=True):
    """The upstream's own credential, sent as `header: scheme value`. Exactly one of `env` and `file`."""

    header: Annotated[Text, Doc("the header that carries it")] = "authorization"
    scheme: Annotated[str | None, Doc("the word before the value, e.g. `Bearer`")] = None
    env: Annotated[str | None, Doc("the environment variable that holds the value")] = None
    file: Annotated[str | None, Doc("the file that holds the value")] = None


class Upstream(Part, frozen=True):
    """A server that serves models."""

    url: Annotated[Text, Doc("scheme, host and port, and a path prefix where it has one")]
    credential: UpstreamCredential | None = None
    ca: Annotated[str | None, Doc("a CA bundle (PEM) to verify it with, instead of the system's")] = None
    idle_connections: Annotated[int, Meta(ge=0), Doc("kept open per worker")] = 64
    max_connections: Annotated[Count, Doc("open at once per worker")] = 1024


class CountryGroup(Part, frozen=True):
    """A named set of countries with its source; the short form is a plain list."""

    countries: Annotated[tuple[str, ...], Doc("ISO 3166-1 codes")]
    source: Annotated[str | None, Doc("where the list comes from")] = None
    date: Annotated[datetime.date | None, Doc("the date of that list")] = None
    expires: Annotated[datetime.date | None, Doc("when it is to be reviewed; check-config warns from then on")] = None


class Programme(Part, frozen=True):
    """A vetting process."""

    title: Annotated[Text, Doc("as people call it")]
    reviewers: Annotated[tuple[str, ...], Meta(min_length=1), Doc("who may review: `role:reviewer`, or an operator's name")] = (
        "role:reviewer",
    )
    approvals: Annotated[Count, Doc("how many distinct reviewers must approve")] = 1
    grant: Annotated[Duration, Doc("how long an approval lasts")] = duration("90d")
    target: Annotated[Duration, Doc("the review time to be kept")] = duration("72h")
    open_cases: Annotated[Literal["automatically", "on_request"], Doc("whether a request that needs vetting opens a case by itself")] = (
        "on_request"
    )


class Enforcement(Part, frozen=True):
    """How changes of policy come into force. Tightening is always immediate."""

    lease: Annotated[Duration, Doc("a replica that cannot confirm its policy for this long refuses gated traffic")] = duration("5s")
    clock_skew: Annotated[
        Duration, Doc("a replica whose clock is further from the store's refuses gated traffic: instants would be wrong")
    ] = duration("5s")
    loosening: Annotated[Literal["second_person", "immediate"], Doc("whether loosening needs a second operator")] = "immediate"


class Hold(Part, frozen=True):
    """Requests that wait for an approval."""

    wait: Annotated[Duration, Doc("how long a request may wait; 0s answers at once")] = duration("0")
    max_requests: Annotated[int, Meta(ge=0), Doc("waiting at once per worker")] = 1000
    max_bytes: Annotated[Size, Doc("of their bodies, per worker")] = size("256MiB")


class Limits(Part, frozen=True):
    """Bounds of what one caller can make the gate hold or wait for."""

    head: Annotated[Size, Doc("of a request's or a response's head")] = size("64KiB")
    body: Annotated[Size, Doc("of a request's body")] = size("32MiB")
    bodies: Annotated[Size, Doc("all requests' bodies that a worker holds; beyond it callers are told to come again")] = size("1GiB")
    connections: Annotated[Count, Doc("from callers, per worker")] = 10_000
    idle: Annotated[Duration, Doc("a client connection between requests")] = duration("75s")
    head_timeout: Annotated[Duration, Doc("for a whole request head")] = duration("10s")
    body_timeout: Annotated[Duration, Doc("between two reads of a body")] = duration("30s")
    connect_timeout: Annotated[Duration, Doc("to connect to an upstream, TLS included")] = duration("5s")
    first_byte_timeout: Annotated[Duration, Doc("from the request sent to the first byte of the answer")] = duration("10m")
    stream_idle: Annotated[Duration, Doc("between two reads from an upstream, or with a client that reads nothing")] = duration("5m")
    drain: Annotated[Duration, Doc("what SIGTERM leaves to live sessions")] = duration("30s")


class Audit(Part, frozen=True):
    """The decision records."""

    path: Annotated[Text, Doc("the folder they are written to")] = "audit/"
    durability: Annotated[
        Literal["batched", "strict"], Doc("`strict`: a record is on disk before the request goes on; `batched`: soon after")
    ] = "batched"
    address: Annotated[Literal["truncated", "full", "none"], Doc("how the client's address is recorded; truncated: /24, /48")] = "truncated"


class Operator(Part, frozen=True):
    """Someone who may use the control plane, by a bearer token. Exactly one of the three `token_` keys."""

    name: Annotated[Text, Doc("as the log of changes names them")]
    roles: Annotated[tuple[Role, ...], Meta(min_length=1), Doc("what they may do")] = ("viewer",)
    token_sha256: Annotated[str | None, Doc("the token's SHA-256, 64 hexadecimal digits")] = None
    token_env: Annotated[str | None, Doc("the environment variable that holds the token")] = None
    token_file: Annotated[str | None, Doc("the file that holds the token")] = None


class Control(Part, frozen=True):
    """Who may use the control plane."""

    operators: Annotated[tuple[Operator, ...], Doc("people and machines with a token of their own")] = ()
    oidc: Annotated[None, Doc("reserved; must be null")] = None


class Config(Part, frozen=True):
    """`frontiergate.yaml`."""

    # Parts that hold durations or sizes have factories for defaults, for the same reason as those (units.duration).

    listen: Listen = Listen()
    workers: Annotated[int, Meta(ge=1, le=256), Doc("data-plane processes that share the port")] = 1
    clients: Clients = Clients()
    geoip: GeoIP = field(default_factory=GeoIP)
    identity: Identity = field(default_factory=Identity)
    upstreams: Annotated[dict[str, Upstream], Doc("the servers behind the gate, by name")] = {}
    models: Annotated[tuple[Model, ...], Doc("the catalogue; a model that is not in it does not exist")] = ()
    country_groups: Annotated[
        dict[str, CountryGroup | tuple[str, ...]], Doc("named sets of countries; a name that the gate ships is replaced")
    ] = {}
    programmes: Annotated[dict[str, Programme], Doc("the vetting processes, by name")] = {}
    directives: Annotated[tuple[Directive, ...], Doc("in force besides those made at runtime; the union applies")] = ()
    store: Annotated[Text, Doc("where policy changes, grants and keys are kept: a SQLite file, or Redis for several machines")] = (
        "sqlite:///var/lib/frontiergate/state.db"
    )
    enforcement: Enforcement = field(default_factory=Enforcement)
    hold: Hold = field(default_factory=Hold)
    limits: Limits = field(default_factory=Limits)
    audit: Audit = Audit()
    control: Control = Control()
    docs_url: Annotated[Text, Doc("where refusals send people")] = "https://frontiergate.example/docs"
