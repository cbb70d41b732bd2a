"""The manual says what the commands say."""

from pathlib import Path

from frontiergate.cli.reference import reference

MANUAL = Path(__file__).parents[3] / "docs" / "reference" / "cli.md"


def test_the_manual_is_as_generated() -> None:
    assert MANUAL.read_text(encoding="utf-8") == reference(), "run: python -m frontiergate.cli.reference > docs/reference/cli.md"


def test_every_command_is_in_the_manual() -> None:
    text = reference()
    for words in ("serve", "check-config", "withdraw", "grants revoke", "keys create", "directives list", "explain", "replicas"):
        assert f"## frontiergate {words}\n" in text
    assert "| `--wait [SECONDS]` |" in text
    assert "| `--mode enforce\\|observe` |" in text
