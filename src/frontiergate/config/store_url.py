"""Reads the key `store`: which store there is, where it is and how it is to be used. No I/O.

    sqlite:///absolute/path.db
    redis://[user@]host[:port][/db]                          rediss://… with TLS
    redis+sentinel://[user@]host[:port],…/service[/db]       rediss+sentinel://…
    redis+cluster://[user@]host[:port],…                     rediss+cluster://…

A URL never holds a password: it is shown in logs and copied into tickets. `password_env` or `password_file` names where it is.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NoReturn
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

import msgspec

from frontiergate.config.shape import suggestion
from frontiergate.config.units import Duration
from frontiergate.errors import ConfigError

Layout = Literal["server", "sentinel", "cluster"]
Host = tuple[str, int]

FORMS = "write sqlite:///absolute/path.db, redis://host:6379, redis+sentinel://host:26379,…/service or redis+cluster://host:6379,…"
_SCHEMES: dict[str, tuple[Layout, int]] = {"": ("server", 6379), "+sentinel": ("sentinel", 26379), "+cluster": ("cluster", 6379)}
_SCHEME = re.compile(r"redis(s?)(\+sentinel|\+cluster|)")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_PREFIX = re.compile(r"[A-Za-z0-9._:/-]{1,64}")
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_FILES = ("password_file", "sentinel_password_file", "ca", "certificate", "key")


class SqliteUrl(msgspec.Struct, frozen=True):
    """A file on this machine."""

    path: str


class RedisUrl(msgspec.Struct, frozen=True, kw_only=True):
    """Redis or Valkey. The fields from `prefix` on are the URL's query parameters, of the same names."""

    layout: Layout
    tls: bool
    hosts: tuple[Host, ...]  # the server, or the Sentinels or Cluster nodes to ask for it
    service: str = ""  # what the Sentinels call the master
    database: int = 0
    user: str | None = None
    prefix: str = "frontiergate"  # what our keys begin with; a Cluster's hash tag
    timeout: float = 2.0  # seconds that one operation may take, connecting included
    wait: int | None = None  # replicas that must have an append before it is acknowledged
    waitaof: int | None = None  # the same, with the append synced to their disks and the master's
    password_env: str | None = None
    password_file: str | None = None
    sentinel_password_env: str | None = None
    sentinel_password_file: str | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    @property
    def has_password(self) -> bool:
        return self.password_env is not None or self.password_file is not None

    @property
    def copies(self) -> int:
        """How many replicas must hold what is acknowledged."""
        return self.wait or self.waitaof or 0

    def __str__(self) -> str:
        """What logs and errors call it: where it is, and nothing about who we are."""
        scheme = ("rediss" if self.tls else "redis") + next(end for end, (layout, _) in _SCHEMES.items() if layout == self.layout)
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        path = "/".join(part for part in (self.service, str(self.database or "")) if part)
        return f"{scheme}://{hosts}" + (f"/{path}" if path else "")


def read_store_url(url: str) -> SqliteUrl | RedisUrl:
    """What `url` says. Raises ConfigError, whose problems never show the URL: it may hold a password that has no place there."""
    if url.partition(":")[0] == "sqlite":
        path = url.removeprefix("sqlite://")
        if path == url or not path.startswith("/") or not path.strip("/") or "\0" in path:
            _wrong(f"names no file; {FORMS}")
        return SqliteUrl(path)
    try:
        parts = urlsplit(url)
    except ValueError:
        _wrong(f"is not a URL; {FORMS}")
    scheme = _SCHEME.fullmatch(parts.scheme)
    if scheme is None or not url.isprintable() or not url.isascii() or " " in url:
        _wrong(f"is not a store that this version has; {FORMS}")
    layout, port = _SCHEMES[scheme[2]]
    user, hosts = _authority(parts, port)
    if layout == "server" and len(hosts) > 1:
        _wrong("names several hosts; write redis+sentinel:// for Sentinels, redis+cluster:// for a Cluster, or keep one host")
    service, database = _place(parts, layout)
    if parts.fragment:
        _wrong("holds a fragment (#…); remove it, or write %23 for a # in a name")
    place = {"layout": layout, "tls": bool(scheme[1]), "hosts": hosts, "service": service, "database": database, "user": user}
    read = msgspec.convert(place | _parameters(parts.query), RedisUrl)
    _check_together(read)
    return read


def resolve_store_url(url: str, base: Path) -> str:
    """The same URL with the relative file paths in it taken from `base`. What is no URL stays as it is: check-config says so."""
    scheme, _, rest = url.partition(":")
    if scheme == "sqlite":
        path = rest.removeprefix("//")
        return "sqlite:///" + os.path.normpath(base / path).lstrip("/") if path.strip("/") else url
    head, mark, query = url.partition("?")
    if not (_SCHEME.fullmatch(scheme) and mark):
        return url
    named = [
        (name, os.path.normpath(base / value) if name in _FILES and value else value)
        for name, value in parse_qsl(query, keep_blank_values=True)
    ]
    return f"{head}?{urlencode(named, safe='/:')}"


def _wrong(problem: str) -> NoReturn:
    raise ConfigError([problem])


def _authority(parts: SplitResult, port: int) -> tuple[str | None, tuple[Host, ...]]:
    """The user and the hosts."""
    credentials, at, places = parts.netloc.rpartition("@")
    if ":" in credentials:
        _wrong("holds a password, which would be shown with it; remove it, and name where it is: ?password_env=NAME or ?password_file=PATH")
    hosts = []
    for place in places.split(","):
        match = _HOST.fullmatch(place)
        if match is None or not 0 < int(match[2] or port) < 65536:
            _wrong(f"names a host that cannot be read; {FORMS}")
        hosts.append((match[1].strip("[]"), int(match[2] or port)))
    return (unquote(credentials) or None) if at else None, tuple(hosts)


def _place(parts: SplitResult, layout: Layout) -> tuple[str, int]:
    """The Sentinels' name for the master, and the database's number."""
    steps = [unquote(step) for step in parts.path.strip("/").split("/") if step]
    service = ""
    if layout == "sentinel":
        if not steps or not _NAME.fullmatch(steps[0]):
            _wrong("does not say which master the Sentinels are to be asked for; write redis+sentinel://host:26379,…/service")
        service = steps.pop(0)
    if len(steps) > 1 or (steps and not re.fullmatch("[0-9]{1,4}", steps[0])):
        _wrong("has a path that is no database's number; write it as /0, or leave it out")
    database = int(steps[0]) if steps else 0
    if layout == "cluster" and database:
        _wrong("names a database, but a Cluster has only number 0; leave it out, and keep gates apart by ?prefix=NAME")
    return service, database


def _seconds(text: str) -> float:
    seconds = Duration.parse(text)
    if not 0.05 <= seconds <= 60:
        raise ValueError("must be from 50ms to 60s")
    return float(seconds)


def _replicas(text: str) -> int:
    if not re.fullmatch("[0-9]{1,2}", text):
        raise ValueError("must be a number of replicas, such as 1")
    return int(text)


def _prefix(text: str) -> str:
    if not _PREFIX.fullmatch(text):
        raise ValueError("must be letters, digits and . _ : / - only")
    return text


def _text(text: str) -> str:
    if not text:
        raise ValueError("is empty")
    return text


_READERS: dict[str, Callable[[str], str | int | float]] = {
    "prefix": _prefix,
    "timeout": _seconds,
    "wait": _replicas,
    "waitaof": _replicas,
    **dict.fromkeys(("password_env", "sentinel_password_env", *_FILES), _text),
}


def _parameters(query: str) -> dict[str, str | int | float]:
    values: dict[str, str | int | float] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in _READERS:
            _wrong(f"has an unknown parameter {name!r}; {suggestion(name, _READERS)}")
        if name in values:
            _wrong(f"has the parameter {name} twice; keep one")
        try:
            values[name] = _READERS[name](text)
        except ValueError as problem:
            _wrong(f"has a parameter {name} that cannot be used: it {str(problem).removeprefix('it ')}; correct it")
    return values


def _check_together(url: RedisUrl) -> None:
    if url.password_env is not None and url.password_file is not None:
        _wrong("has both password_env and password_file; keep the one that holds the password")
    if url.sentinel_password_env is not None and url.sentinel_password_file is not None:
        _wrong("has both sentinel_password_env and sentinel_password_file; keep the one that holds the password")
    if url.layout != "sentinel" and (url.sentinel_password_env or url.sentinel_password_file):
        _wrong("has a password for Sentinels, but is not redis+sentinel://; remove it, or change the scheme")
    if url.wait is not None and url.waitaof is not None:
        _wrong("has both wait and waitaof; keep waitaof, which waits for the same replicas and for their disks")
    if not url.tls and (url.ca or url.certificate or url.key):
        _wrong("has files for TLS but does not use it; write rediss:// or remove them")
    if (url.certificate is None) != (url.key is None):
        _wrong("has a certificate without its key, or a key without its certificate; name both")
