"""Where an address is and what network it is of, from databases in MaxMind's format (DESIGN 4.1; NATIONALITY.md; BYPASSES 54-56).

A record of the database counts whatever range it is for, so an operator can place internal networks; vendors' databases
have none for private and reserved ranges, so those are unknown.
"""

import ipaddress
import math
import os
import time
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Final

import maxminddb

from frontiergate.domain.country import canonical
from frontiergate.domain.evidence import Assurance, Evidence, Kind
from frontiergate.errors import DatabaseError
from frontiergate.identity.address import AddressError, embedded, unwrap

# Values that databases use where they know no country: continents, satellites, anonymisers, nothing.
_PSEUDO_CODES = frozenset({"EU", "AP", "A1", "A2", "O1", "ZZ", "XX"})
_FLAGS: Final = {  # GeoIP2 Anonymous IP -> requirement.NETWORKS
    "is_anonymous": "anonymous",
    "is_anonymous_vpn": "anonymous_vpn",
    "is_hosting_provider": "hosting",
    "is_public_proxy": "public_proxy",
    "is_residential_proxy": "residential_proxy",
    "is_tor_exit_node": "tor_exit",
}
_IPV4_TREE = ipaddress.IPv6Network("::/96")  # where an mmdb keeps IPv4: an IPv6 address there would borrow IPv4's record
_ADDRESSES = 65_536  # answers remembered, about 15 MiB
_SAMPLE = 10_000  # records looked at to see whether a file is a database of the right kind


class Whereabouts:
    """What is known of an address. Interned: the same object for the same answer, so it is hashed by identity."""

    __slots__ = ("evidence", "location", "networks")

    def __init__(self, location: str | None = None, networks: tuple[str, ...] = (), evidence: tuple[Evidence, ...] = ()) -> None:
        self.location = location
        self.networks = networks
        self.evidence = evidence


NOWHERE = Whereabouts()
_UNREADABLE: Final = object()  # in place of a record


class _Database:
    """One open file. It is read from a private copy, which nobody can truncate under the memory map (SIGBUS)."""

    __slots__ = ("_reader", "built", "kind", "stamp")

    def __init__(self, path: str, usable: Callable[[object], bool], what: str) -> None:
        """Raises DatabaseError; its message says what to do."""
        try:
            self.stamp = stamp_of(path)
            with open(path, "rb") as file:
                self._reader = _open_copy(file.read())
            metadata = self._reader.metadata()
            sample = any(usable(record) for _, record in islice(self._reader, _SAMPLE))
        except OSError as error:
            raise DatabaseError(f"{path}: cannot be read ({error.strerror}); put a {what} database in MaxMind's format there") from error
        except (maxminddb.InvalidDatabaseError, ValueError) as damage:
            raise DatabaseError(f"{path}: not a whole MaxMind database; download it again and move it into place") from damage
        if not sample:
            raise DatabaseError(f"{path}: {metadata.database_type!r} has no {what} records; configure a {what} database")
        self.kind = metadata.database_type
        self.built = float(metadata.build_epoch)

    def record(self, address: str) -> object:
        """What the database holds for `address`, None where nothing; _UNREADABLE where it cannot be told."""
        try:
            return self._reader.get(address)
        except (maxminddb.InvalidDatabaseError, ValueError):  # a corrupt record; an IPv6 address in a database of IPv4
            return _UNREADABLE


def stamp_of(path: str) -> tuple[int, int, int]:
    """What changes when a file is replaced or rewritten. Raises OSError."""
    status = os.stat(path)
    return status.st_mtime_ns, status.st_ino, status.st_size


def _open_copy(content: bytes) -> maxminddb.Reader:
    descriptor = os.memfd_create("mmdb", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as copy:
            copy.write(content)
        return maxminddb.open_database(f"/proc/self/fd/{descriptor}", maxminddb.MODE_MMAP_EXT)
    finally:
        os.close(descriptor)


def _country_of(record: object) -> str | None:
    """The ISO code of a GeoIP2 Country or City record, or of a flat one; never registered_country or represented_country."""
    if not isinstance(record, Mapping):
        return None
    country = record.get("country")
    code = country.get("iso_code") if isinstance(country, Mapping) else record.get("country_code")
    if not isinstance(code, str) or len(code) != 2 or code.upper() in _PSEUDO_CODES:
        return None
    return canonical(code)


def _networks_of(record: object) -> tuple[str, ...]:
    if not isinstance(record, Mapping):
        return ()
    return tuple(network for flag, network in _FLAGS.items() if record.get(flag) is True)


class Locator:
    """Answers `locate` from the files at `country` and `anonymous`; `refresh` follows their replacement.

    `max_age`: seconds since a database was built after which its word no longer counts. Raises DatabaseError where a
    configured file cannot be used at the start.
    """

    def __init__(self, country: str | None, anonymous: str | None, max_age: float, clock: Callable[[], float] = time.time) -> None:
        self._paths = {what: path for what, path in (("country", country), ("anonymous-IP", anonymous)) if path is not None}
        self._max_age = max_age
        self._clock = clock
        self._open: dict[str, _Database] = {}
        self._refused: dict[str, tuple[int, int, int] | None] = {}  # the stamp of a replacement that was refused and reported
        self._answers: dict[str, Whereabouts] = {}
        self._interned: dict[tuple[str | None, tuple[str, ...]], Whereabouts] = {}
        self._stale = False
        for what, path in self._paths.items():
            self._open[what] = _Database(path, _USABLE[what], what)
        self.refresh()

    def locate(self, address: str) -> Whereabouts:
        """Where `address` is. NOWHERE where it is not an address. Known addresses cost one dictionary look-up."""
        known = self._answers.get(address)
        if known is None:
            known = self._look_up(address)
            if len(self._answers) >= _ADDRESSES:
                self._answers.clear()
            self._answers[address] = known
        return known

    def refresh(self) -> list[DatabaseError]:
        """Open what was replaced since the last call; a file that cannot be used is reported once and the old one kept."""
        problems: list[DatabaseError] = []
        changed = False
        for what, database in list(self._open.items()):
            path = self._paths[what]
            stamp = _stamp_or_none(path)
            if stamp == database.stamp:
                self._refused.pop(what, None)
                continue
            if what in self._refused and self._refused[what] == stamp:
                continue
            try:
                self._open[what] = _Database(path, _USABLE[what], what)
                self._refused.pop(what, None)
                changed = True
            except DatabaseError as error:
                self._refused[what] = stamp
                problems.append(error)
        stale = self.too_old(self._clock())
        if changed or stale != self._stale:
            self._answers = {}
            self._interned = {}
        self._stale = stale
        return problems

    def age(self, now: float) -> float | None:
        """Seconds since the oldest open database was built; None where none is configured."""
        return max((now - database.built for database in self._open.values()), default=None)

    def too_old(self, at: float) -> bool:
        """Whether a database is older than `max_age`: no location is known then, and no network."""
        age = self.age(at)
        return age is not None and age > self._max_age

    def _look_up(self, address: str) -> Whereabouts:
        if self._stale:
            return NOWHERE
        try:
            address = unwrap(address)
        except AddressError:
            return NOWHERE
        ip = ipaddress.ip_address(address)
        if isinstance(ip, ipaddress.IPv6Address) and (ip in _IPV4_TREE or embedded(ip) is not None):
            return NOWHERE
        location: str | None = None
        networks: tuple[str, ...] = ()
        record = self._record("country", address)
        if record is not None:
            location = _country_of(record)
        if "anonymous-IP" in self._open:
            flagged = self._record("anonymous-IP", address)
            networks = _networks_of(flagged)
            if networks or flagged is _UNREADABLE:
                location = None
            elif record is not None or flagged is not None or ip.is_global:
                networks = ("ordinary",)
        return self._intern(location, networks)

    def _record(self, what: str, address: str) -> object:
        database = self._open.get(what)
        return None if database is None else database.record(address)

    def _intern(self, location: str | None, networks: tuple[str, ...]) -> Whereabouts:
        if location is None and not networks:
            return NOWHERE
        key = location, networks
        known = self._interned.get(key)
        if known is None:
            evidence = [self._evidence("anonymous-IP", Kind.NETWORK, network) for network in networks]
            if location is not None:
                evidence.append(self._evidence("country", Kind.LOCATION, location))
            known = self._interned[key] = Whereabouts(location, networks, tuple(evidence))
        return known

    def _evidence(self, what: str, kind: Kind, value: str) -> Evidence:
        """A database's statement: as old as its file, and worth nothing once any file is too old."""
        database = self._open[what]
        ends = min(other.built for other in self._open.values()) + self._max_age
        return Evidence(
            kind=kind,
            value=value,
            source=f"geoip {database.kind}",
            assurance=Assurance.ATTESTED,
            observed_at=database.built,
            expires_at=None if math.isinf(ends) else ends,
        )


def _stamp_or_none(path: str) -> tuple[int, int, int] | None:
    try:
        return stamp_of(path)
    except OSError:
        return None


_USABLE: Final[Mapping[str, Callable[[object], bool]]] = {
    "country": lambda record: _country_of(record) is not None,
    "anonymous-IP": lambda record: isinstance(record, Mapping) and not _FLAGS.keys().isdisjoint(record),
}
