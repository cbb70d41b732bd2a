"""What was tried for the data plane, on relays that do nothing but relay: what the loop, the reads and the writes cost by themselves.

usage: python -m bench.tried [--rounds 5] [--seconds 3]
"""

import argparse
import sys

from bench.candidates import plain
from bench.candidates.relay import RELAYS
from bench.figures import Figure, measured
from bench.proxies import collect

_CONNECTIONS = 32


def measure(rounds: int, seconds: float) -> dict[str, Figure]:
    """CPU of each, and over that of nginx in the same round."""
    samples = collect((plain.NGINX, *RELAYS), rounds, seconds, _CONNECTIONS)
    found: dict[str, Figure] = {}
    for name, taken in samples.items():
        found[f"{name}_cpu_us"] = sum(one.cpu for one in taken) / len(taken)
        ratios = sorted(one.cpu / theirs.cpu for one, theirs in zip(taken, samples["nginx"], strict=True))
        found[f"{name}_cpu_vs_nginx"] = ratios[len(ratios) // 2]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.tried", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    given = parser.parse_args()
    settings: dict[str, Figure] = {"rounds": given.rounds, "seconds": given.seconds, "connections": _CONNECTIONS}
    return measured("tried", lambda: measure(given.rounds, given.seconds), settings)


if __name__ == "__main__":
    sys.exit(main())
