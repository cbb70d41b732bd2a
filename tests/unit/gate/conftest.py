"""The gate's own tests are conversations; see tests/fixtures/playbook.py."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.fixtures.playbook")

from tests.fixtures.playbook import Playbook  # noqa: E402 - its assertions are to be explained as a test's own


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Callable[..., Playbook]]:
    """Starts gates with changes to the usual configuration; after the test each is stopped, and its records are checked."""
    started: list[Playbook] = []

    def start(*, confirmed: bool = True, **config: object) -> Playbook:
        gate = Playbook(tmp_path / f"gate{len(started)}", **config)
        started.append(gate)
        return gate.start(confirmed)

    yield start
    for gate in started:
        gate.stop()
