from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.control.control_harness import Desk, running_desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A control plane with an open, empty store."""
    with running_desk(tmp_path) as running:
        yield running
