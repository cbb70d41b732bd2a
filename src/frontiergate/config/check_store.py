"""Checks of the store's URL: what is wrong with it, and what is at risk with a store that it names."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from frontiergate.config.check_network import check_file, is_loopback
from frontiergate.config.load import secret
from frontiergate.config.problem import Problem, error, warning
from frontiergate.config.schema import Config
from frontiergate.config.store_url import RedisUrl, read_store_url, resolve_store_url
from frontiergate.errors import ConfigError


def check_store(config: Config, environ: Mapping[str, str]) -> Iterator[Problem]:
    """Everything that can be told without asking the store itself."""
    try:
        url = read_store_url(resolve_store_url(config.store, Path.cwd()))
    except ConfigError as problem:
        yield error("store", str(problem))
        return
    if isinstance(url, RedisUrl):
        yield from _files(url)
        yield from _secrets(url, environ)
        yield from _risks(url, config.enforcement.lease)


def _files(url: RedisUrl) -> Iterator[Problem]:
    for name in ("ca", "certificate", "key"):
        yield from check_file(f"store: {name}", getattr(url, name))


def _secrets(url: RedisUrl, environ: Mapping[str, str]) -> Iterator[Problem]:
    for env, file in (
        (url.password_env, url.password_file),
        (url.sentinel_password_env, url.sentinel_password_file),
    ):
        if env is not None or file is not None:
            try:
                secret(env, file, environ)
            except ConfigError as problem:
                yield warning("store", str(problem))


def _risks(url: RedisUrl, lease: float) -> Iterator[Problem]:
    if not all(is_loopback(host) for host, _ in url.hosts):
        if not url.tls:
            yield warning("store", "is reached without TLS: policy and password would cross the network in the clear; write rediss://")
        if not url.has_password and url.certificate is None:
            yield warning("store", "is reached without a password, so that anybody near it can lift directives; add ?password_env=NAME")
    if url.layout != "server" and not url.copies:
        yield warning("store", "waits for no replica, so that a failover can undo an acknowledged withdrawal; add ?wait=1")
    if url.timeout >= lease:
        yield warning(
            "store", f"may answer after {url.timeout:g}s, when the lease of {lease:g}s is over; lower timeout, or raise enforcement.lease"
        )
