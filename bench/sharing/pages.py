"""The generated sections of docs/scaling.md, and of docs/performance.md's time to enforce."""

from bench import curves
from bench.curves import Curve
from bench.goals import Figures, number
from bench.sharing import sizes
from bench.svg import count
from bench.tables import cell, markdown

_STORES = (("sqlite", "SQLite"), ("redis", "Redis"))
_INSTANTS = (
    ("", "enforced, as each replica reports"),
    ("refused_", "first refusal of a new request"),
    ("severed_", "last byte of the last stream"),
    ("everywhere_", "all of these on the last replica"),
    ("lifted_", "a lift, enforced"),
)
_JUDGED = ("", "refused_", "severed_")  # each replica's, which the goals are about
_IDLE, _LOADED = 50, 250  # ms
_KINDS = (
    ("append", "append a change"),
    ("wake", "wake one listener"),
    ("position", "ask for the log's head"),
    ("entries", "read the entries"),
    ("report", "report, or heartbeat"),
    ("grants_of", "look up a principal's grants"),
    ("report_of_all", "read one replica's report among all"),
    ("start", "a replica's start"),
)
_LEVERS = (
    ("as_it_is", "as it is"),
    ("look_1s", "looking each second, not each 200 ms, while listening"),
    ("copies", "look-ups of grants at copies of the server"),
    ("followers", "one follower for each gate of four workers"),
    ("followers_50", "one follower for 50 replicas"),
    ("followers_50_copies", "both: one follower for 50, look-ups at copies"),
)
_OVER = {
    "replicas": (f"replicas, {sizes.CHANGE:g} change a second", {str(size): float(size) for size in sizes.REPLICAS}),
    "changes": (f"changes a second, {sizes.GOAL:,} replicas", {f"{size:g}": size for size in sizes.CHANGES}),
}
_TOLD = (
    ("cpu", "The server's CPU over {}", "% of a core", {"simulated": "utilisation_percent", "by the formulas": "formula_percent"}),
    ("time", "Time to enforce over {}", "ms", {"p50": "enforced_p50_ms", "p99": "enforced_p99_ms", "a look-up, p99": "look_up_p99_ms"}),
    ("network", "The server's network over {}", "Mbit/s", {"both ways": "mbit_per_second"}),
)
CURVES = tuple(
    Curve(
        f"sharing_{what}_{over}",
        title.format(over),
        x_label,
        unit,
        points,
        {legend: f"{over}_{{}}_{key}" for legend, key in series.items()},
        "scaling",
    )
    for over, (x_label, points) in _OVER.items()
    for what, title, unit, series in _TOLD
)


def _cell(figures: Figures, key: str) -> str:
    return cell(figures, key, "scaling")


def enforce(figures: Figures) -> str:
    """Every instant, idle and under load."""
    streams, replicas = (number(figures, key, "enforce") for key in ("streams", "replicas"))
    loaded = "under load" if streams is None or replicas is None else f"{streams:,.0f} streams on each of {replicas:g}"
    rows = []
    for store, title in _STORES:
        for load, name, limit in (("idle_", "idle", _IDLE), ("", loaded, _LOADED)):
            for instant, what in _INSTANTS:
                p99 = number(figures, f"{store}_{load}{instant}p99_ms", "enforce")
                if p99 is None:
                    continue
                values = (cell(figures, f"{store}_{load}{instant}{which}_ms", "enforce") for which in ("p50", "p99", "max"))
                verdict = ("met" if p99 <= limit else "**missed**") if instant in _JUDGED else ""
                rows.append((f"{title}, {name}: {what}", *values, f"≤ {limit}" if verdict else "", verdict))
    return markdown(("ms from the append", "p50", "p99", "max", "p99 wanted", ""), rows)


def units(figures: Figures) -> str:
    """What one operation costs."""
    rows = [
        (title, *(_cell(figures, f"unit_{kind}_{what}") for what in ("server_us", "alone_us", "replica_us", "bytes")))
        for kind, title in _KINDS
    ]
    rows.append(("a change, from its wake-up until reported", "", "", _cell(figures, "unit_change_replica_us"), ""))
    return markdown(("operation", "server, µs of CPU, one of many at once", "alone", "replica, µs of CPU", "bytes both ways"), rows)


def stored(figures: Figures) -> str:
    """What grants take."""
    rows = []
    for grants in sizes.GRANTS:
        keys = ("bytes_each", "log_bytes_each", "look_up_server_us", "fork_ms", "load_s")
        rows.append((count(grants), *(_cell(figures, f"grants_{grants}_{key}") for key in keys)))
    head = ("grants", "bytes each", "of them in the log", "look-up, server µs", "a fork holds the server, ms", "loading at a start, s")
    goal = [_cell(figures, f"goal_{key}") for key in ("memory_gib", "log_gib", "fork_ms", "load_s")]
    told = "{} GiB of memory, {} GiB of them in the log; a fork of {} ms; {} s to load".format(*goal)
    return f"{markdown(head, rows)}\n\nTold from the last row for {count(sizes.GRANTS_GOAL)}: {told}."


def goal(figures: Figures) -> str:
    """The load that is asked for, and where it ends."""
    shares = [(title, _cell(figures, f"share_{kind}_percent")) for kind, title in _KINDS if kind != "start"]
    head = (f"{sizes.GOAL:,} replicas, {sizes.CHANGE:g} change/s, {sizes.LOOK_UPS:g} look-ups/s each", "% of the server's core")
    ends = [
        (title, *(_cell(figures, f"{name}_at_{what}") for name in ("busy", "full")))
        for what, title in (
            ("replicas", "replicas"),
            ("changes", "changes a second"),
            ("look_ups", "look-ups of grants a second and replica"),
        )
    ]
    late = _cell(figures, "late_at_replicas")
    told = f"Simulated, the p99 of time to enforce passes {sizes.LATE:g} ms at {late} replicas. Following costs a replica {{}} % of a core."
    told = told.format(_cell(figures, "replica_percent"))
    return f"{markdown(head, shares)}\n\n{markdown(('the others as above', '70 % busy at', 'full at'), ends)}\n\n{told}"


def levers(figures: Figures) -> str:
    """What each thing that can be done is worth."""
    rows = [(title, _cell(figures, f"lever_{name}")) for name, title in _LEVERS]
    return markdown((f"with {sizes.CHANGE:g} change/s and {sizes.LOOK_UPS:g} look-ups/s each", "replicas at 70 %"), rows)


def simulation(figures: Figures) -> str:
    """Every curve; nothing while there are no figures, as there are no plots then either."""
    return "\n\n".join(curves.section(curve, figures) for curve in CURVES) if figures["scaling"] else ""


def plots(figures: Figures) -> None:
    """Their files."""
    for curve in CURVES:
        curves.plot(curve, figures)
