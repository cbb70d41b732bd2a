"""How many histories are generated, a hundred of each kind or thousands in `make soak`; and what those on Redis share."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.faults.redis_histories import Ground
from tests.fixtures.partition import Partition
from tests.fixtures.redis import RedisServer

settings.register_profile("soak", max_examples=2000, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="module")
def redis_ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One server, and two networks to it."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server, Partition(server.port) as east, Partition(server.port) as west:
        Ground.server, Ground.links = server, (east, west)
        yield
