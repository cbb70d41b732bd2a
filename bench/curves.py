"""The curves of `bench.scale`: which figures make which plot, and the table beside it."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from bench import svg
from bench.figures import Figure
from bench.goals import Figures, number
from bench.machine import ROOT
from bench.scale import sizes
from bench.svg import Points, shown

PLOTS = ROOT / "docs" / "plots"


class Curve(msgspec.Struct, frozen=True):
    """One plot: `series` by legend, each a pattern of keys with a `{}` for the point, which is drawn at the x that it stands for."""

    name: str
    title: str
    x_label: str
    y_label: str
    points: dict[str, float]
    series: dict[str, str]
    bench: str = "scale"


def _counts(sizes: tuple[int, ...]) -> dict[str, float]:
    return {str(size): float(size) for size in sizes}


CURVES = (
    Curve(
        "directives",
        "A decision over directives",
        "directives in force, 5 of them on the model",
        "µs",
        _counts(sizes.DIRECTIVES),
        {
            "warm": "directives_{}_warm_us",
            "cold: a caller never seen": "directives_{}_cold_us",
            "the first under a new policy": "directives_{}_first_us",
        },
    ),
    Curve(
        "policy",
        "Taking a policy from the log over directives",
        "directives in force",
        "ms",
        _counts(sizes.DIRECTIVES),
        {
            "the first load, in slices": "directives_{}_load_ms",
            "all compiled anew, in slices": "directives_{}_reload_ms",
            "one directive more: the loop's time": "directives_{}_change_loop_ms",
            "one grant more: the loop's time": "directives_{}_grant_loop_ms",
        },
    ),
    Curve(
        "policy_pauses",
        "The loop's longest pause while a policy is taken",
        "directives in force",
        "ms",
        _counts(sizes.DIRECTIVES),
        {
            "all compiled anew": "directives_{}_reload_pause_ms",
            "one directive more": "directives_{}_change_pause_ms",
            "one grant more": "directives_{}_grant_pause_ms",
        },
    ),
    Curve(
        "live",
        "Live streams decided again",
        "streams on one worker, each of a caller of its own",
        "ms",
        _counts(sizes.LIVE),
        {
            "no directive changed": "live_{}_unconcerned_ms",
            "one that all satisfy": "live_{}_satisfied_ms",
            "a withdrawal: all severed": "live_{}_withdrawn_ms",
            "the longest pause of the three": "live_{}_pause_ms",
            "the most that the loop's thread worked in one go": "live_{}_held_ms",
        },
    ),
    Curve(
        "models",
        "A decision over models",
        "models in the catalogue, 1,000 directives",
        "µs",
        _counts(sizes.MODELS),
        {"warm": "models_{}_warm_us", "cold: a caller never seen": "models_{}_cold_us"},
    ),
    Curve(
        "grants",
        "A cold look-up of a caller's grants",
        "grants stored",
        "µs",
        _counts(sizes.GRANTS),
        {"until it is there, p50": "grants_{}_lookup_p50_us", "p99": "grants_{}_lookup_p99_us", "held the loop": "grants_{}_loop_us"},
    ),
    Curve(
        "callers",
        "Establishing a caller, and knowing one",
        "callers remembered",
        "µs",
        _counts(sizes.CALLERS),
        {"cold (Ed25519)": "callers_{}_cold_us", "warm": "callers_{}_warm_us"},
    ),
    Curve(
        "crowd",
        "The whole request over callers in turn",
        "distinct callers",
        "µs of CPU",
        _counts(sizes.CROWD),
        {"gate": "crowd_{}_cpu_us"},
    ),
    Curve(
        "bodies",
        "CPU per request over the body's size",
        "bytes",
        "µs of CPU",
        {name: float(size) for name, size in sizes.BODIES.items()},
        {"gate": "body_{}_gate_cpu_us", "nginx, unbuffered": "body_{}_nginx_cpu_us"},
    ),
    Curve(
        "pauses",
        "The loop's longest pause over the body's size",
        "bytes",
        "ms",
        {name: float(size) for name, size in sizes.BODIES.items()},
        {
            "longest": "body_{}_loop_pause_ms",
            "p99 of pings": "body_{}_loop_pause_p99_ms",
            "the loop's own work in one go": "body_{}_held_ms",
        },
    ),
    Curve("workers", "CPU per request over workers", "workers", "µs of CPU", _counts((1, 2)), {"gate": "workers_{}_cpu_us"}),
)


def _points(curve: Curve, figures: Figures, pattern: str) -> Points:
    found = [(x, number(figures, pattern.format(point), curve.bench)) for point, x in curve.points.items()]
    return [(x, y) for x, y in found if y is not None]


def plot(curve: Curve, figures: Figures) -> None:
    """Its file, if it has figures."""
    series = {name: _points(curve, figures, pattern) for name, pattern in curve.series.items()}
    series = {name: points for name, points in series.items() if points}
    if series:
        svg.lines(PLOTS / f"{curve.name}.svg", curve.title, series, curve.x_label, curve.y_label)


def plots(figures: Figures) -> None:
    """All of them that have figures."""
    for curve in CURVES:
        plot(curve, figures)
    for name, title, ending, benches in (
        ("proxies", "CPU per request", "_cpu_us", ("peers", "proxies")),
        ("streaming", "CPU per streamed event", "_event_cpu_us", ("streaming_peers", "streaming")),
    ):
        bench = next((bench for bench in benches if figures[bench]), benches[-1])
        _bars(PLOTS / f"{name}.svg", title, figures[bench], ending)


def _bars(path: Path, title: str, figures: Mapping[str, Figure], ending: str) -> None:
    values = {key.removesuffix(ending).replace("_", " "): float(value) for key, value in figures.items() if key.endswith(ending)}
    if values:
        svg.bars(path, f"{title}, µs, logarithmic", values, "µs", highlight="gate")


def section(curve: Curve, figures: Figures) -> str:
    """A plot and its table."""
    head = ("", *(svg.count(x) for x in curve.points.values()))
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * len(curve.points)]
    for name, pattern in curve.series.items():
        at = dict(_points(curve, figures, pattern))
        cells = (shown(at[x]) if x in at else "" for x in curve.points.values())
        lines.append(f"| {name}, {curve.y_label} | " + " | ".join(cells) + " |")
    return f"### {curve.title}\n\n![{curve.title}](plots/{curve.name}.svg)\n\n" + "\n".join(lines)


def sections(figures: Figures) -> str:
    """All of them."""
    return "\n\n".join([*(section(curve, figures) for curve in CURVES), _memory(figures)])


def _memory(figures: Figures) -> str:
    """What grows, and by how much."""
    rows = (
        ("a policy of 10,000 directives", "directives_10000_policy_kib", "KiB"),
        ("the same with its state, as a worker keeps them", "directives_10000_worker_kib", "KiB"),
        ("a policy of 1,000 directives on 5,000 models", "models_5000_policy_kib", "KiB"),
        ("a caller remembered (token, evidence, facts)", "callers_100000_kib_per_caller", "KiB"),
        ("100,000 callers remembered, the bound as configured", "callers_100000_grown_mib", "MiB"),
        ("20,000 callers where 10,000 may be remembered", "callers_bounded_grown_mib", "MiB"),
        ("a worker's look-ups of 1,000 among 1 M grants", "grants_1000000_worker_kib", "KiB"),
        ("a request with a body of 2 MB", "body_2mb_rss_mib", "MiB"),
        ("a request with a body of 30 MB", "body_30mb_rss_mib", "MiB"),
        ("… beyond the body, alone", "body_30mb_rss_over_body_mib", "MiB"),
        ("… beyond the body, one of ten at once", "body_30mb_at_once_rss_over_body_mib", "MiB"),
        ("gate, 1 worker, under load (with supervisor and control plane)", "workers_1_rss_mib", "MiB"),
        ("gate, 2 workers, under load", "workers_2_rss_mib", "MiB"),
    )
    lines = ["### Memory", "", "| what | grows by |", "|---|---:|"]
    for what, key, unit in rows:
        value = number(figures, key, "scale")
        lines.append(f"| {what} | {'' if value is None else f'{shown(value)} {unit}'} |")
    return "\n".join(lines)
