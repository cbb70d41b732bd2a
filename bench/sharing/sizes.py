"""How many of each: the points of the curves, and the load that is asked for."""

GOAL = 1_000  # replicas
CHANGE = 1.0  # a second
LOOK_UPS = 5.0  # cold look-ups of grants, a second and replica
LATE = 250.0  # ms, the bound on the p99 of time to enforce
GRANTS_GOAL = 10_000_000

REPLICAS = (10, 100, 250, 1_000, 2_000, 3_000, 5_000)
CHANGES = (1.0, 3.0, 10.0, 30.0)
GRANTS = (100_000, 1_000_000)
