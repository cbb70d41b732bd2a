"""The ground that exchanges stand on: all that comes from the configuration."""

from collections.abc import Mapping

import msgspec

from frontiergate.config.schema import Config
from frontiergate.dialects.registry import DIALECTS, Routes
from frontiergate.domain.catalogue import Catalogue
from frontiergate.gate.fields import RequestFields
from frontiergate.gate.head import Heads
from frontiergate.gate.upstream import Upstream
from frontiergate.identity.address import TrustedNetworks
from frontiergate.identity.credential import CREDENTIAL_HEADERS


class Ground(msgspec.Struct, frozen=True):
    """Everything that comes from the configuration; replaced whole at a reload, so an exchange never sees two of them."""

    config: Config
    catalogue: Catalogue
    routes: Routes
    fields: RequestFields
    upstreams: dict[str, Upstream]
    trusted: TrustedNetworks
    extra_credential: bytes | None  # the configured identity header, lower case
    heads: Heads


def prepare(config: Config, environ: Mapping[str, str]) -> Ground:
    """The ground for `config`. Raises ConfigError or ValueError with what is wrong."""
    extra = config.identity.header.lower().encode() if config.identity.header else None
    marks = frozenset().union(*(dialect.marks for dialect in DIALECTS.values()))
    return Ground(
        config,
        Catalogue(config.models),
        Routes(DIALECTS.values()),
        RequestFields(CREDENTIAL_HEADERS | ({extra} if extra else set()), marks),
        {name: Upstream(name, upstream, environ) for name, upstream in config.upstreams.items()},
        TrustedNetworks(config.clients.trusted_proxies),
        extra,
        Heads(),
    )
