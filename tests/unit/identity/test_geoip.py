"""Where an address is, from real databases (BYPASSES 54-56; NATIONALITY.md)."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from frontiergate.domain.evidence import Assurance, Kind
from frontiergate.domain.requirement import NETWORKS
from frontiergate.errors import DatabaseError
from frontiergate.identity.geoip import NOWHERE, Locator
from tests.fixtures import mmdb

NOW = 1_800_000_000.0
DAY = 86400.0
PLACES = {"8.8.8.0/24": "US", "2001:4860::/32": "US", "1.2.3.0/24": "CN"}


def locator(country: str | None, anonymous: str | None = None, at: float = NOW, max_age: float = 45 * DAY) -> Locator:
    return Locator(country, anonymous, max_age, lambda: at)


def empty(path: Path) -> str:
    path.write_bytes(b"")
    return str(path)


@pytest.mark.parametrize("schema", [mmdb.country, mmdb.city, mmdb.flat])
def test_each_schema_gives_the_country(schema: Callable[..., str], tmp_path: Path) -> None:
    found = locator(schema(tmp_path / "db.mmdb", PLACES, NOW - DAY)).locate("8.8.8.8")
    assert (found.location, found.networks) == ("US", ())


@pytest.mark.parametrize(
    "address", ["::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1", "2001:0:4136:e378:8000:63bf:f7f7:f7f7", "2001:4860::1"]
)
def test_other_forms_of_an_address_are_located_alike(address: str, tmp_path: Path) -> None:
    assert locator(mmdb.country(tmp_path / "db.mmdb", PLACES, NOW)).locate(address).location == "US"


@pytest.mark.parametrize(
    "address",
    [
        "9.9.9.9",
        "10.0.0.1",
        "127.0.0.1",
        "169.254.1.1",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "::",
        "::1",
        "fe80::1%eth0",
        "fc00::1",
        "",
        "x",
        "8.8.8",
    ],
)
def test_an_address_without_a_record_is_unknown(address: str, tmp_path: Path) -> None:
    assert locator(mmdb.country(tmp_path / "db.mmdb", PLACES, NOW)).locate(address) is NOWHERE


def test_an_ipv6_address_does_not_borrow_the_record_of_an_ipv4_address(tmp_path: Path) -> None:
    found = locator(mmdb.country(tmp_path / "db.mmdb", {**PLACES, "10.0.0.0/8": "US", "0.0.0.0/24": "US"}, NOW))
    for address in ("::8.8.8.8", "::1", "2002:a00:1::1", "64:ff9b::a00:1"):
        assert found.locate(address) is NOWHERE


def test_an_operators_record_for_an_internal_range_counts(tmp_path: Path) -> None:
    assert locator(mmdb.country(tmp_path / "db.mmdb", {"127.0.0.0/8": "GB"}, NOW)).locate("127.0.0.1").location == "GB"


@pytest.mark.parametrize("code", ["EU", "AP", "A1", "A2", "O1", "ZZ", "eu", "QQ", "", "USA", 7, None])
def test_a_code_that_is_no_country_is_unknown(code: object, tmp_path: Path) -> None:
    records = {"8.8.8.0/24": {"country_code": "US"}, "1.1.1.0/24": {"country": {"iso_code": code} if code is not None else "US"}}
    assert locator(mmdb.write(tmp_path / "db.mmdb", "Country", records, NOW)).locate("1.1.1.1").location is None


def test_registered_and_represented_countries_do_not_count(tmp_path: Path) -> None:
    other = {"registered_country": {"iso_code": "US"}, "represented_country": {"iso_code": "US"}}
    path = mmdb.write(
        tmp_path / "db.mmdb", "GeoLite2-Country", {"1.1.1.0/24": other, "8.8.8.0/24": {"country": {"iso_code": "DE"}, **other}}, NOW
    )
    found = locator(path)
    assert (found.locate("1.1.1.1").location, found.locate("8.8.8.8").location) == (None, "DE")


def test_a_location_is_evidence_as_old_as_its_database(tmp_path: Path) -> None:
    (evidence,) = locator(mmdb.country(tmp_path / "db.mmdb", PLACES, NOW - DAY), max_age=3 * DAY).locate("8.8.8.8").evidence
    assert (evidence.kind, evidence.value, evidence.assurance) == (Kind.LOCATION, "US", Assurance.ATTESTED)
    assert (evidence.observed_at, evidence.expires_at, evidence.source) == (NOW - DAY, NOW + 2 * DAY, "geoip GeoLite2-Country")


def test_equal_answers_are_the_same_object(tmp_path: Path) -> None:
    found = locator(mmdb.country(tmp_path / "db.mmdb", PLACES, NOW))
    assert found.locate("8.8.8.8") is found.locate("8.8.8.9")


def test_the_address_cache_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontiergate.identity.geoip._ADDRESSES", 10)
    found = locator(mmdb.country(tmp_path / "db.mmdb", PLACES, NOW))
    for last in range(100):
        assert found.locate(f"8.8.8.{last}").location == "US"
    assert len(found._answers) <= 10


@pytest.mark.parametrize(
    ("flag", "network"),
    [
        ("is_anonymous_vpn", "anonymous_vpn"),
        ("is_hosting_provider", "hosting"),
        ("is_public_proxy", "public_proxy"),
        ("is_residential_proxy", "residential_proxy"),
        ("is_tor_exit_node", "tor_exit"),
    ],
)
def test_an_anonymised_network_hides_the_location(flag: str, network: str, tmp_path: Path) -> None:
    anonymous = mmdb.anonymous(tmp_path / "anonymous.mmdb", {"8.8.8.8/32": (flag,)}, NOW)
    found = locator(mmdb.country(tmp_path / "country.mmdb", PLACES, NOW), anonymous).locate("8.8.8.8")
    assert found.location is None
    assert set(found.networks) == {"anonymous", network} <= set(NETWORKS)
    assert {(piece.kind, piece.value) for piece in found.evidence} == {(Kind.NETWORK, "anonymous"), (Kind.NETWORK, network)}


def test_an_address_without_a_flag_is_ordinary(tmp_path: Path) -> None:
    anonymous = mmdb.anonymous(tmp_path / "anonymous.mmdb", {"8.8.8.8/32": ()}, NOW)
    found = locator(mmdb.country(tmp_path / "country.mmdb", PLACES, NOW), anonymous)
    assert (found.locate("8.8.8.9").location, found.locate("8.8.8.9").networks) == ("US", ("ordinary",))
    assert found.locate("9.9.9.9").networks == ("ordinary",)
    assert found.locate("10.0.0.1") is NOWHERE


def test_an_address_that_the_anonymous_database_cannot_answer_for_is_unknown(tmp_path: Path) -> None:
    only_ipv4 = mmdb.write(tmp_path / "anonymous.mmdb", "GeoIP2-Anonymous-IP", {"8.8.8.8/32": {"is_anonymous": True}}, NOW, ip_version=4)
    found = locator(mmdb.country(tmp_path / "country.mmdb", PLACES, NOW), only_ipv4)
    assert found.locate("2001:4860::1") is NOWHERE


def test_without_databases_nothing_is_known() -> None:
    found = locator(None)
    assert found.locate("8.8.8.8") is NOWHERE
    assert found.age(NOW) is None
    assert not found.too_old(NOW)
    assert found.refresh() == []


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (mmdb.truncated, "not a whole MaxMind database"),
        (mmdb.wrong_type, "has no country records"),
        (lambda path: mmdb.anonymous(path, {"8.8.8.8/32": ()}), "has no country records"),
        (str, "cannot be read"),
        (lambda path: str(path.parent), "cannot be read"),
        (empty, "not a whole MaxMind database"),
    ],
)
def test_a_file_that_is_no_country_database_is_refused_at_the_start(make: Callable[[Path], str], complaint: str, tmp_path: Path) -> None:
    path = make(tmp_path / "db.mmdb")
    with pytest.raises(DatabaseError, match=complaint) as caught:
        locator(path)
    assert str(path) in str(caught.value)


def test_a_country_database_is_no_anonymous_database(tmp_path: Path) -> None:
    path = mmdb.country(tmp_path / "db.mmdb", PLACES)
    with pytest.raises(DatabaseError, match="anonymous-IP"):
        locator(path, path)


def test_a_replaced_file_is_opened_and_old_answers_are_dropped(tmp_path: Path) -> None:
    found = locator(mmdb.country(tmp_path / "db.mmdb", PLACES, NOW))
    before = found.locate("8.8.8.8")
    assert found.refresh() == []
    assert found.locate("8.8.8.8") is before
    mmdb.country(tmp_path / "db.mmdb", {"8.8.8.0/24": "CA"}, NOW)
    assert found.locate("8.8.8.8").location == "US"
    assert found.refresh() == []
    assert found.locate("8.8.8.8").location == "CA"


@pytest.mark.parametrize("spoil", [mmdb.truncated, mmdb.wrong_type, lambda path: path.unlink()])
def test_a_bad_replacement_is_reported_once_and_the_old_one_kept(spoil: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "db.mmdb"
    found = locator(mmdb.country(path, PLACES, NOW))
    spoil(path)
    (problem,) = found.refresh()
    assert str(path) in str(problem)
    assert found.refresh() == []
    assert found.locate("8.8.8.8").location == "US"
    mmdb.country(path, {"8.8.8.0/24": "CA"}, NOW)
    assert found.refresh() == []
    assert found.locate("8.8.8.8").location == "CA"


def test_a_file_that_is_cut_in_place_does_not_hurt(tmp_path: Path) -> None:
    path = tmp_path / "db.mmdb"
    found = locator(mmdb.country(path, PLACES, NOW))
    os.truncate(path, 10)
    assert found.locate("8.8.8.8").location == "US"
    assert len(found.refresh()) == 1
    assert found.locate("1.2.3.4").location == "CN"


def test_a_corrupt_record_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "db.mmdb"
    mmdb.write(path, "Country", {"1.2.3.0/24": {"country_code": "US"}, "8.8.8.0/24": {"country_code": "DE", "spoil": "x" * 40}}, NOW)
    content = path.read_bytes()
    spoilt = content.index(b"x" * 40)
    path.write_bytes(content[: spoilt - 2] + b"\xff\xff" + content[spoilt:])
    assert locator(str(path)).locate("8.8.8.8") is NOWHERE


def test_a_database_that_is_too_old_says_nothing(tmp_path: Path) -> None:
    now = [NOW]
    path = mmdb.country(tmp_path / "db.mmdb", PLACES, NOW - 44 * DAY)
    found = Locator(path, None, 45 * DAY, lambda: now[0])
    assert found.locate("8.8.8.8").location == "US"
    assert found.age(NOW) == 44 * DAY
    now[0] = NOW + 2 * DAY
    assert found.refresh() == []
    assert found.too_old(now[0])
    assert found.locate("8.8.8.8") is NOWHERE
    mmdb.country(tmp_path / "db.mmdb", PLACES, NOW)
    found.refresh()
    assert found.locate("8.8.8.8").location == "US"


def test_an_anonymous_database_that_is_too_old_makes_the_location_unknown(tmp_path: Path) -> None:
    anonymous = mmdb.anonymous(tmp_path / "anonymous.mmdb", {"8.8.8.8/32": ()}, NOW - 90 * DAY)
    assert locator(mmdb.country(tmp_path / "country.mmdb", PLACES, NOW), anonymous).locate("8.8.8.9") is NOWHERE


def test_without_an_age_limit_a_location_does_not_expire(tmp_path: Path) -> None:
    (evidence,) = locator(mmdb.country(tmp_path / "db.mmdb", PLACES, NOW), max_age=float("inf")).locate("8.8.8.8").evidence
    assert evidence.expires_at is None
