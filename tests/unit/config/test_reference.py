"""The generated papers say what the types say, and the ones in the tree are up to date."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from frontiergate.config.reference import config_reference, json_schema

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("file", ["config/frontiergate.schema.json", "docs/reference/config.md"])
def test_the_generated_files_are_up_to_date(tmp_path: Path, file: str) -> None:
    schema, reference = tmp_path / "frontiergate.schema.json", tmp_path / "config.md"
    subprocess.run([sys.executable, "-m", "frontiergate.config.reference", schema, reference], check=True)
    command = "python -m frontiergate.config.reference config/frontiergate.schema.json docs/reference/config.md"
    assert (ROOT / file).read_text() == (tmp_path / Path(file).name).read_text(), f"run {command}"


def test_every_key_has_a_meaning() -> None:
    rows = [line for line in config_reference().splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    assert [row for row in rows if row.endswith("|  |")] == []


def test_the_schema_has_defaults_as_people_write_them() -> None:
    definitions: dict[str, Any] = json_schema()["$defs"]
    assert definitions["Limits"]["properties"]["head"]["default"] == "64KiB"
    assert definitions["GeoIP"]["properties"]["max_age"]["default"] == "45d"
    assert definitions["Enforcement"]["additionalProperties"] is False


def test_the_reference_shows_types_defaults_and_links() -> None:
    reference = config_reference()
    assert "| `lease` | duration | `5s` | a replica that cannot confirm its policy for this long refuses gated traffic |" in reference
    assert "| `port` | a whole number from 0 to 65535 | `null` | 0 takes a free port |" in reference
    assert "| `order` | [mapping](#order) | required |" in reference


def test_the_schema_is_plain_json() -> None:
    assert json.loads(json.dumps(json_schema()))["$id"] == "frontiergate.schema.json"
