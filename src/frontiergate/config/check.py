"""Proves of a configuration what can be proved before it is used (check-config, start, reload)."""

from collections.abc import Collection, Iterator, Mapping

from frontiergate.config.check_identity import check_identity
from frontiergate.config.check_network import check_file, check_network
from frontiergate.config.check_policy import check_policy
from frontiergate.config.check_store import check_store
from frontiergate.config.problem import Problem
from frontiergate.config.schema import Config

__all__ = ["Problem", "check_config"]


def check_config(config: Config, dialects: Collection[str], at: float, environ: Mapping[str, str]) -> list[Problem]:
    """Everything questionable in `config`, errors first. `dialects` are those that there are; `at` is now, POSIX seconds.

    File paths in `config` must be absolute (`load.resolve_paths`). Looks at files and at `environ`, never at the network.
    """
    problems = [
        *check_network(config, environ),
        *check_identity(config, environ),
        *_geoip(config),
        *check_store(config, environ),
        *check_policy(config, dialects, at),
    ]
    return sorted(problems, key=lambda problem: problem.level != "error")


def _geoip(config: Config) -> Iterator[Problem]:
    for name in ("country", "anonymous", "asn"):
        yield from check_file(f"geoip.{name}", getattr(config.geoip, name))
