"""Generated histories on Redis, with partitions and lost answers (P4, P5). `make test` runs a hundred, `make soak` thousands."""

import pytest
from hypothesis import settings

from tests.faults.redis_histories import RedisHistories

pytestmark = pytest.mark.usefixtures("redis_ground")

TestRedisHistories = RedisHistories.TestCase
TestRedisHistories.settings = settings(stateful_step_count=25, deadline=None, database=None)
