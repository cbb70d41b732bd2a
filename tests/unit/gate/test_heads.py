"""Remembered readings of heads: bounded, and a crowd does not push everybody out at once."""

import gc
import os

from frontiergate.config.load import parse_config
from frontiergate.gate.ground import prepare
from frontiergate.gate.head import Head

_CONFIG = """
identity: {api_keys: true}
upstreams: {u: {url: "http://127.0.0.1:1"}}
models: [{id: m, dialects: [openai], upstream: u}]
"""
_LINE = (b"POST", b"/v1/chat/completions", "1.1")


def _fields(caller: int, padding: int = 0) -> list[bytes]:
    return [b"host", b"h", b"content-type", b"application/json", b"authorization", b"Bearer %d%s" % (caller, b"x" * padding)]


def test_a_head_that_comes_again_is_read_once() -> None:
    ground = prepare(parse_config(_CONFIG, "test"), os.environ)
    first = ground.heads.read(ground, _LINE, _fields(1), keep_alive=True)
    assert ground.heads.read(ground, _LINE, _fields(1), keep_alive=True) is first
    assert ground.heads.read(ground, _LINE, _fields(2), keep_alive=True) is not first


def test_who_comes_often_is_remembered_in_a_crowd_that_is_not() -> None:
    ground = prepare(parse_config(_CONFIG, "test"), os.environ)
    regular = ground.heads.read(ground, _LINE, _fields(0), keep_alive=True)
    for caller in range(1, 20_000):
        ground.heads.read(ground, _LINE, _fields(caller, 1000), keep_alive=True)
        if caller % 1000 == 0:
            assert ground.heads.read(ground, _LINE, _fields(0), keep_alive=True) is regular
    gc.collect()
    assert sum(isinstance(found, Head) for found in gc.get_objects()) < 18_000


def test_a_very_large_head_is_not_remembered() -> None:
    ground = prepare(parse_config(_CONFIG, "test"), os.environ)
    first = ground.heads.read(ground, _LINE, _fields(1, 5000), keep_alive=True)
    assert ground.heads.read(ground, _LINE, _fields(1, 5000), keep_alive=True) is not first
