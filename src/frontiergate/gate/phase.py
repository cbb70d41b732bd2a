"""Where an exchange stands, from the received request to its one outcome.

    JUDGING ──→ DIALLING ──→ WAITING ──→ ANSWERING ──→ ENDED
       │            │            │             │         ↑
       └────────────┴────────────┴─────────────┴─────────┘

JUDGING    establish the caller, resolve the models, decide; nothing has been sent to anybody
DIALLING   the verdict is forward; it is being made durable, or a connection to the upstream is being opened
WAITING    the request is with the upstream; nothing of the answer has been sent to the caller
ANSWERING  the head of the answer is on its way to the caller
ENDED      told to audit and metrics, exactly once
"""

import enum


class Phase(enum.IntEnum):
    """Where an exchange stands."""

    JUDGING = 0
    DIALLING = 1
    WAITING = 2
    ANSWERING = 3
    ENDED = 4
