"""The plane: what every handler of the control process shares. A reload replaces `setup` whole."""

from collections.abc import Callable, Mapping

import msgspec

from frontiergate.config.check_policy import groups_of
from frontiergate.config.schema import Config
from frontiergate.control.operators import Operators, load_operators
from frontiergate.control.problems import Problem
from frontiergate.control.watch import Watch
from frontiergate.domain.catalogue import Catalogue
from frontiergate.domain.directive import Directive
from frontiergate.domain.groups import resolve_groups
from frontiergate.domain.policy import Policy
from frontiergate.errors import ConfigError, DatabaseError, StoreUnavailable
from frontiergate.identity.geoip import Locator
from frontiergate.store.compiled import compile_state
from frontiergate.store.protocol import Store
from frontiergate.store.storeclock import StoreClock
from frontiergate.telemetry.metrics import Metrics

HEARTBEAT_LIMIT = 3.0  # seconds without a heartbeat after which a replica counts as silent


class Setup(msgspec.Struct, frozen=True):
    """What follows from one configuration."""

    config: Config
    catalogue: Catalogue
    groups: Mapping[str, frozenset[str]]
    directives: Mapping[str, Directive]  # those of the config file
    operators: Operators
    locator: Locator
    locator_trouble: str  # why it cannot tell where an address is; empty where it can


def set_up(config: Config, environ: Mapping[str, str]) -> Setup:
    """Raises ConfigError where the control plane cannot work with `config`. A GeoIP database that cannot be read is no such case:
    data workers refuse on it; here only `explain` with an address needs it."""
    operators = load_operators(config.control, environ)
    try:
        catalogue = Catalogue(config.models)
        groups = resolve_groups(groups_of(config))
    except ValueError as error:
        raise ConfigError(str(error).splitlines()) from error
    locator, trouble = Locator(None, None, 0), "no database is configured (geoip.country)"
    if config.geoip.country is not None:
        try:
            locator, trouble = Locator(config.geoip.country, config.geoip.anonymous, config.geoip.max_age), ""
        except DatabaseError as error:
            trouble = str(error)
    return Setup(
        config=config,
        catalogue=catalogue,
        groups=groups,
        directives={directive.id: directive for directive in config.directives},
        operators=operators,
        locator=locator,
        locator_trouble=trouble,
    )


class Plane:
    """The control process's state: the setup in force, the store, and the policy that follows from both."""

    def __init__(self, setup: Setup, store: Store, metrics: Metrics, clock: Callable[[], float]) -> None:
        self.setup = setup
        self.store = store
        self.metrics = metrics
        self.clock = clock
        self.watch = Watch(store)
        self.trouble: str | None = "it has not been opened yet"  # why the store cannot be used; None once it is open
        self._compiled: tuple[Setup, tuple[str, int], Policy] | None = None  # lineage and epoch

    def require_store(self) -> None:
        """Raises StoreUnavailable until the store is open."""
        if self.trouble is not None:
            raise StoreUnavailable(self.trouble)

    def store_clock(self) -> StoreClock:
        """Tells the time as replicas tell it in their reports."""
        return StoreClock(self.setup.config.enforcement.clock_skew, self.clock)

    async def policy(self) -> Policy:
        """The policy of the log's head: read anew where the log moved on, so that explain does not explain the past."""
        position = await self.store.position()
        setup, compiled = self.setup, self._compiled
        if compiled is None or compiled[0] is not setup or compiled[1] != (position.lineage, position.epoch):
            state = await self.store.state()
            try:
                policy = compile_state(setup.catalogue, tuple(setup.directives.values()), setup.groups, state)
            except ValueError as error:  # a country group or programme that it names is gone from the config file
                raise Problem("conflict", f"a directive in force cannot be compiled, so workers refuse: {error}") from error
            compiled = self._compiled = (setup, (state.lineage, state.epoch), policy)
        return compiled[2]

    def refuse_loosening(self, what: str) -> None:
        """Raises Problem (409) where `what` would need a second person's agreement, which cannot be given yet: closed by default."""
        if self.setup.config.enforcement.loosening == "second_person":
            raise Problem(
                "second-person",
                f"{what} loosens what is in force, and enforcement.loosening is second_person: a second operator must agree,"
                " which this release cannot take down yet; change enforcement.loosening to immediate in the config file to proceed",
            )
