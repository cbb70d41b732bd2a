"""How many of each: the points of the curves."""

DIRECTIVES = (10, 1_000, 10_000)
MODELS = (10, 5_000)
GRANTS = (1_000, 100_000, 1_000_000)
CALLERS = (1, 10_000, 100_000)
CROWD = (1, 1_000, 10_000)
LIVE = (100, 1_000, 10_000)  # streams, each of a caller of its own
BODIES = {"200b": 200, "20kb": 20_000, "2mb": 2_000_000, "30mb": 30_000_000}  # bytes
