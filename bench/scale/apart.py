"""Each point of a curve is measured in a process of its own, so that the memory of one is not the next one's."""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import ParamSpec, TypeVar

from bench.machine import PROXY_CORE
from bench.processes import status

_P = ParamSpec("_P")
_T = TypeVar("_T")


def apart(function: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T:
    """The function's result from a fresh process on the proxy's core."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=os.sched_setaffinity, initargs=(0, {PROXY_CORE})) as pool:
        return pool.submit(function, *arguments, **named).result()


def resident() -> float:
    """This process's resident memory in KiB."""
    return float(status(os.getpid(), "VmRSS"))
