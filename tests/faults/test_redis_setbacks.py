"""Generated histories on Redis, with crashes, and with a store that loses what it had (P4, P5). A quarter as many as of the others."""

import pytest
from hypothesis import settings

from tests.faults.redis_histories import RedisCrashes, RedisSetbacks

pytestmark = pytest.mark.usefixtures("redis_ground")

_FEWER = settings(max_examples=settings.default.max_examples // 4, stateful_step_count=25, deadline=None, database=None)  # type: ignore[union-attr]

TestRedisSetbacks = RedisSetbacks.TestCase
TestRedisSetbacks.settings = _FEWER
TestRedisCrashes = RedisCrashes.TestCase
TestRedisCrashes.settings = _FEWER
