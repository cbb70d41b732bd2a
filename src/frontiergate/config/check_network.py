"""Checks of listeners, proxies in front, upstreams behind and the limits between them."""

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from urllib.parse import SplitResult, urlsplit

import msgspec

from frontiergate.config.load import secret
from frontiergate.config.problem import Problem, error, warning
from frontiergate.config.schema import Address, Config, ServerTls, Upstream, UpstreamCredential
from frontiergate.config.units import Duration
from frontiergate.errors import ConfigError

_TOKEN = re.compile(r"[!#$%&'*+.^`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2, less the underscore, which servers fold into a dash
_FRAMING = {"connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
_UNIX_PATH_BYTES = 107  # sockaddr_un of Linux, less its NUL


def check_network(config: Config, environ: Mapping[str, str]) -> Iterator[Problem]:
    """Everything that concerns connections."""
    yield from _listeners(config)
    yield from _trusted_proxies(config)
    for name, upstream in config.upstreams.items():
        yield from _upstream(f"upstreams.{name}", upstream, environ)
    yield from _limits(config)
    yield from check_url("docs_url", config.docs_url)


def _listeners(config: Config) -> Iterator[Problem]:
    listeners = {"listen.data": config.listen.data, "listen.control": config.listen.control}
    if config.listen.decision is not None:
        listeners["listen.decision"] = config.listen.decision
    seen: dict[str, Address] = {}
    for path, address in listeners.items():
        yield from _address(path, address)
        for other, earlier in seen.items():
            if _overlap(earlier, address):
                yield error(path, f"listens where {other} listens; give each listener a place of its own")
        seen[path] = address
    control = config.listen.control
    if control.host is not None and not is_loopback(control.host) and control.tls is None:
        yield warning("listen.control", "operators' tokens would cross the network in the clear; add tls, or listen on 127.0.0.1")


def _address(path: str, address: Address) -> Iterator[Problem]:
    if address.unix is not None and (address.host is not None or address.port is not None):
        yield error(path, "has both unix and host or port; keep one of the two")
    elif address.unix is None and (address.host is None or address.port is None):
        yield error(path, "needs host and port, or unix; add what is missing")
    elif address.unix is not None and len(os.fsencode(address.unix)) > _UNIX_PATH_BYTES:
        yield error(f"{path}.unix", f"is longer than the {_UNIX_PATH_BYTES} bytes that a socket's path may have; choose a shorter folder")
    if address.tls is not None:
        yield from _tls(f"{path}.tls", address.tls)


def _tls(path: str, tls: ServerTls) -> Iterator[Problem]:
    for name in ("certificate", "key", "client_ca"):
        yield from check_file(f"{path}.{name}", getattr(tls, name))


def check_file(path: str, file: str | None) -> Iterator[Problem]:
    """An error where `file` is named but cannot be read by this process."""
    if file is not None and not (os.path.isfile(file) and os.access(file, os.R_OK)):
        yield error(path, f"the file {file} is not there or cannot be read; create it or change the path")


def _overlap(one: Address, other: Address) -> bool:
    if one.unix is not None or other.unix is not None:
        return one.unix == other.unix
    wildcards = {"0.0.0.0", "::", ""}  # noqa: S104  (compared, not bound)
    hosts = {one.host, other.host}
    return bool(one.port) and one.port == other.port and (len(hosts) == 1 or bool(hosts & wildcards))


def is_loopback(host: str) -> bool:
    """Whether `host`, an address or a name, is this machine's own for certain."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _trusted_proxies(config: Config) -> Iterator[Problem]:
    for index, text in enumerate(config.clients.trusted_proxies):
        path = f"clients.trusted_proxies[{index}]"
        try:
            network = ipaddress.ip_network(text)
        except ValueError:
            yield error(path, f"{text!r} is not a network; write it as 10.0.0.0/8, without bits set after the prefix")
            continue
        if network.prefixlen == 0:
            yield warning(path, "trusts every peer, so that every caller chooses its own address; name your proxies' networks")


def _upstream(path: str, upstream: Upstream, environ: Mapping[str, str]) -> Iterator[Problem]:
    yield from check_url(f"{path}.url", upstream.url)
    parts = _split(upstream.url)
    if parts is not None:
        if parts.username is not None or parts.password is not None:
            yield error(f"{path}.url", "holds a user or a password; move it to credential, which reads it from elsewhere")
        if "?" in upstream.url or "#" in upstream.url:
            yield error(f"{path}.url", "holds a query or a fragment; remove it: only the caller's own query is sent on")
        if parts.scheme == "http" and parts.hostname and not is_loopback(parts.hostname):
            yield warning(f"{path}.url", "is http to another machine: prompts and the credential would go in the clear; use https")
    yield from check_file(f"{path}.ca", upstream.ca)
    if upstream.credential is not None:
        yield from _credential(f"{path}.credential", upstream.credential, environ)


def check_url(path: str, url: str) -> Iterator[Problem]:
    """An error where `url` is not an absolute http(s) URL with a host, in the characters that a URL may have (RFC 3986)."""
    parts = _split(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        yield error(path, "is not a URL with a host; write it as https://host/path")


def _split(url: str) -> SplitResult | None:
    if not url.isascii() or not url.isprintable() or set(url) & set(' "<>\\^`{|}'):
        return None  # urlsplit would drop or keep some of these in silence, and some could leave a header field
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no port
    except ValueError:
        return None
    return parts


def _credential(path: str, credential: UpstreamCredential, environ: Mapping[str, str]) -> Iterator[Problem]:
    yield from check_field_name(f"{path}.header", credential.header)
    if credential.scheme is not None and not _TOKEN.fullmatch(credential.scheme):
        yield error(f"{path}.scheme", "is not one word, such as Bearer; change it, or remove it to send the bare value")
    if (credential.env is None) == (credential.file is None):
        yield error(path, "needs exactly one of env and file; name where the secret is")
        return
    try:
        secret(credential.env, credential.file, environ)
    except ConfigError as problem:
        yield warning(path, str(problem))


def check_field_name(path: str, name: str) -> Iterator[Problem]:
    """An error where `name` cannot be the name of a header that carries a credential."""
    if not _TOKEN.fullmatch(name):
        yield error(path, f"{name!r} is not a header's name; use letters, digits and dashes")
    elif name.lower() in _FRAMING:
        yield error(path, f"{name!r} frames the message and cannot carry a credential; use another header")


def _limits(config: Config) -> Iterator[Problem]:
    for field in msgspec.structs.fields(config.limits):
        value = getattr(config.limits, field.name)
        if value == 0 and field.name != "drain":
            yield error(f"limits.{field.name}", "is 0, so that no request could pass; raise it")
    if config.enforcement.lease == Duration(0):
        yield error("enforcement.lease", "is 0, so that every policy would be stale at once; set it to a few seconds")
    if config.enforcement.clock_skew == Duration(0):
        yield error("enforcement.clock_skew", "is 0, and no two clocks agree so well; set it to a few seconds")
