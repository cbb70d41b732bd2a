"""The goals of promise P8, each with the figure that answers it. One that is missed is shown as missed, with its figure."""

from collections.abc import Callable, Mapping

import msgspec

from bench.figures import Figure
from bench.svg import shown

Figures = Mapping[str, Mapping[str, Figure]]  # by bench


class Goal(msgspec.Struct, frozen=True):
    """`value` is at most (or at least) `limit`; None where it has not been measured."""

    what: str
    limit: float
    unit: str
    value: Callable[[Figures], float | None]
    at_least: bool = False


def number(figures: Figures, key: str, *benches: str) -> float | None:
    """The figure of that name in the first of `benches` that has it."""
    for bench in benches:
        value = figures[bench].get(key)
        if isinstance(value, int | float):
            return float(value)
    return None


def _of(key: str, *benches: str) -> Callable[[Figures], float | None]:
    return lambda figures: number(figures, key, *benches)


def _spread(keys: tuple[str, ...]) -> Callable[[Figures], float | None]:
    """The largest of some figures over the smallest: how far from flat."""

    def value(figures: Figures) -> float | None:
        found = [value for key in keys if (value := number(figures, key, "scale")) is not None]
        return max(found) / min(found) if len(found) == len(keys) else None

    return value


_PROXIES = ("peers", "proxies")
_STREAMS = ("streaming_peers", "streaming")
_WARM = ("directives_10_warm_us", "directives_1000_warm_us", "directives_10000_warm_us", "models_10_warm_us", "models_5000_warm_us")

GOALS = (
    Goal("CPU per gated request against Envoy doing comparable checks", 0.5, "×", _of("gated_cpu_vs_envoy_gated", "peers")),
    Goal("… against Envoy merely routing (P8's own words)", 1.0, "×", _of("gated_cpu_vs_envoy", "peers")),
    Goal("… against nginx's bare proxy_pass", 2.0, "×", _of("gated_cpu_vs_nginx", *_PROXIES)),
    Goal("… at one rate of arrivals, half of the gate's capacity", 2.0, "×", _of("at_half_of_gate_gated_cpu_vs_nginx", "latency")),
    Goal("… against Envoy + ext_authz to a Python authoriser", 0.2, "×", _of("gated_cpu_vs_envoy_extauthz", "peers")),
    Goal("… against Portkey", 1 / 25, "×", _of("gated_cpu_vs_portkey", "peers")),
    Goal("… against LiteLLM", 1 / 150, "×", _of("gated_cpu_vs_litellm", "peers")),
    Goal("CPU per streamed event against Envoy", 0.8, "×", _of("event_cpu_vs_envoy", "streaming_peers")),
    Goal("… against nginx", 1.3, "×", _of("event_cpu_vs_nginx", *_STREAMS)),
    Goal("memory per idle stream", 10, "KiB", _of("kib_per_idle_stream", "idle")),
    Goal("base RSS of a worker", 60, "MiB", _of("worker_base_rss_mib", "idle")),
    Goal("added latency over nginx at half of the gate's capacity, p50", 0.1, "ms", _of("at_half_of_gate_added_p50_ms", "latency")),
    Goal("… p99", 1, "ms", _of("at_half_of_gate_added_p99_ms", "latency")),
    Goal("decision, warm", 3, "µs", _of("decision_warm_us", "scale")),
    Goal("… flat in directives, models and grants: largest over smallest", 1.5, "×", _spread(_WARM)),
    Goal("one directive more among 10,000: what it holds the loop for", 10, "ms", _of("directives_10000_change_loop_ms", "scale")),
    Goal("… longest pause of the loop, all 10,000 compiled anew", 10, "ms", _of("directives_10000_reload_pause_ms", "scale")),
    Goal("10,000 live streams decided again: longest pause of the loop", 10, "ms", _of("live_10000_pause_ms", "scale")),
    Goal("cold grant: what the look-up holds the loop for", 100, "µs", _of("grants_1000000_loop_us", "scale")),
    Goal(
        "… flat to 1 M grants: p50 at 1 M over that at 1 k",
        1.5,
        "×",
        _spread(("grants_1000_lookup_p50_us", "grants_100000_lookup_p50_us", "grants_1000000_lookup_p50_us")),
    ),
    Goal("2 workers against 1 on two free cores", 1.8, "×", _of("workers_2_vs_1", "scale"), at_least=True),
    Goal("a body of 30 MB: memory beyond the body", 1, "MiB", _of("body_30mb_rss_over_body_mib", "scale")),
    Goal("… longest pause of the loop", 10, "ms", _of("body_30mb_loop_pause_ms", "scale")),
)


def table(figures: Figures) -> str:
    """All goals as Markdown."""
    rows = ["| goal | wanted | measured | |", "|---|---:|---:|---|"]
    for goal in GOALS:
        wanted = f"{'≥' if goal.at_least else '≤'} {shown(goal.limit)} {goal.unit}"
        value = goal.value(figures)
        if value is None:
            rows.append(f"| {goal.what} | {wanted} | | not measured |")
            continue
        met = value >= goal.limit if goal.at_least else value <= goal.limit
        rows.append(f"| {goal.what} | {wanted} | {shown(value)} {goal.unit} | {'met' if met else '**missed**'} |")
    return "\n".join(rows)
