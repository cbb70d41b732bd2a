"""What a candidate is: a name, what to run, and which refusals it owes."""

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from bench.processes import Command
from bench.world import World

Refusal = Literal["foreign", "tampered", "abroad"]


class Setup(msgspec.Struct, frozen=True):
    """A candidate ready to be started: its commands, and the headers that callers send it."""

    commands: tuple[Command, ...]
    headers: Mapping[str, str]
    control_port: int | None = None  # the gate's, where its metrics are
    told: tuple[str, int] = ("", 0)  # what its log says, and how often, once all of its processes serve


class Candidate(msgspec.Struct, frozen=True):
    """`prepare(world, port)` writes the configuration for listening on `port`."""

    name: str
    title: str
    prepare: Callable[[World, int], Setup]
    owes: tuple[Refusal, ...] = ()
    heavy: bool = False  # so much slower that fewer rounds tell enough, and starting takes long


GATED: tuple[Refusal, ...] = ("foreign", "tampered", "abroad")
