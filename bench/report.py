"""Writes the generated sections of docs/performance.md and docs/scaling.md, and the plots, from the figures that the benches recorded.

A section stands between `<!-- generated: NAME -->` and `<!-- end: NAME -->`; everything else in the file is written by people.

usage: python -m bench.report
"""

import sys
from collections.abc import Callable

from bench import curves, goals
from bench.candidates.relay import RELAYS
from bench.figures import read
from bench.goals import Figures
from bench.machine import ROOT, BenchError
from bench.sharing import pages
from bench.svg import shown
from bench.tables import cell, markdown

DOCS = ROOT / "docs"
BENCHES = ("proxies", "peers", "latency", "streaming", "streaming_peers", "idle", "scale", "budget", "tried", "enforce", "scaling")
_CPU = ("nginx_cpu_us", "gate_cpu_us", "gated_cpu_vs_nginx")  # a request, at the same rate
TITLES = {
    "nginx": "nginx, bare proxy_pass",
    "haproxy": "haproxy, bare",
    "gate": "**Frontier Gate, everything on**",
    "gate_interpreted": "… the same, nothing compiled",
    "envoy": "Envoy, routing only",
    "envoy_gated": "Envoy: jwt_authn, json_to_metadata, geoip, RBAC",
    "envoy_gated_logged": "… with an access log in JSON",
    "envoy_extauthz": "Envoy, ext_authz to an aiohttp authoriser",
    "portkey": "Portkey gateway, routing only",
    "litellm": "LiteLLM proxy, routing only",
}


def machine(figures: Figures) -> str:
    """Which machine, what versions, when; for each bench, as they need not have run together."""
    rows = [
        (bench, *(str(of.get(key, "")) for key in ("date", "machine", "kernel", "python", "load_average_before")))
        for bench, of in figures.items()
        if of
    ]
    versions: dict[str, str] = {}
    for of in figures.values():
        versions |= {key.removeprefix("version_"): str(value) for key, value in of.items() if key.startswith("version_")}
    told = ", ".join(f"{name}: {value}" for name, value in sorted(versions.items()))
    return markdown(("bench", "date", "machine", "kernel", "Python", "load before"), rows) + f"\n\nVersions: {told}."


def proxies(figures: Figures) -> str:
    """Every proxy in one table."""
    bench = "peers" if figures["peers"] else "proxies"
    rows = []
    for name, title in TITLES.items():
        if f"{name}_cpu_us" not in figures[bench]:
            continue
        spread = f"{cell(figures, f'{name}_cpu_us_least', bench)} to {cell(figures, f'{name}_cpu_us_most', bench)}"
        parts = [cell(figures, f"{name}_{part}", bench) for part in ("user_us", "system_us", "rps", "rss_mib")]
        ratio = "1" if name == "gate" else cell(figures, f"gated_cpu_vs_{name}", bench)
        rows.append((title, cell(figures, f"{name}_cpu_us", bench), spread, *parts, ratio))
    head = ("proxy", "CPU µs a request", "least to most", "user", "system", "requests/s", "RSS MiB", "the gate's CPU against it, ×")
    return markdown(head, rows)


def latency(figures: Figures) -> str:
    """Both rates."""
    rows = []
    for title, prefix in (("half of nginx's capacity", ""), ("half of the gate's capacity", "at_half_of_gate_")):
        keys = ("rate_rps", "nginx_p50_us", "gate_p50_us", "added_p50_ms", "nginx_p99_us", "gate_p99_us", "added_p99_ms", *_CPU)
        rows.append((title, *(cell(figures, prefix + key, "latency") for key in keys)))
    head = ("arrivals", "a second", "nginx p50 µs", "gate p50 µs", "added p50 ms", "nginx p99 µs", "gate p99 µs", "added p99 ms")
    cpu = ("nginx CPU µs", "gate CPU µs", "×")
    nginx, gate = (cell(figures, f"{name}_capacity_rps", "latency") for name in ("nginx", "gate"))
    return f"{markdown((*head, *cpu), rows)}\n\nCapacity: nginx {nginx}/s, the gate {gate}/s."


def streaming(figures: Figures) -> str:
    """Events, and idle streams."""
    bench = "streaming_peers" if figures["streaming_peers"] else "streaming"
    rows = []
    for name, title in TITLES.items():
        if f"{name}_event_cpu_us" in figures[bench]:
            ours = "1" if name == "gate" else cell(figures, f"event_cpu_vs_{name}", bench)
            added = [cell(figures, f"{name}_{key}", bench) for key in ("added_p50_us", "added_p99_us", "kib_per_stream")]
            rows.append((title, cell(figures, f"{name}_event_cpu_us", bench), ours, *added))
    table = markdown(("proxy", "CPU µs an event", "the gate's against it, ×", "added p50 µs", "added p99 µs", "KiB a stream"), rows)
    columns = ("worker_base_rss_mib", "kib_per_idle_stream", "worker_full_rss_mib", "worker_rss_after_mib", "idle_cpu_percent")
    idle = [(title, *(cell(figures, prefix + key, "idle") for key in columns)) for title, prefix in (("gate", ""), ("nginx", "nginx_"))]
    head = ("idle streams on one worker", "base MiB", "KiB a stream", "MiB with all", "MiB after", "CPU % while idle")
    return f"{table}\n\n{cell(figures, 'streams', 'idle')} idle streams:\n\n{markdown(head, idle)}"


def budget(figures: Figures) -> str:
    """Stages, most expensive first."""
    of = figures["budget"]
    stages = [(key.removeprefix("stage: "), float(value)) for key, value in of.items() if key.startswith("stage: ")]
    rows = [(name, shown(value) if value >= 0.05 else "< 0.05") for name, value in sorted(stages, key=lambda stage: -stage[1])]
    rows.append(("**inside, all of it**", cell(figures, "inside_us", "budget")))
    rows.append(("**the same, compiled as it is shipped**", cell(figures, "inside_compiled_us", "budget")))
    rows.append(("the audit's thread: encode and write both records", cell(figures, "audit_thread_us", "budget")))
    rows.append(("**measured over real sockets**, whole process tree", cell(figures, "gate_cpu_us", "budget")))
    rows.append(("… of which in the kernel", cell(figures, "gate_system_us", "budget")))
    return markdown(("stage", "µs of CPU a request"), rows)


def tried(figures: Figures) -> str:
    """What relays that do nothing cost, variant by variant."""
    rows = [(one.title, *(cell(figures, f"{one.name}_{key}", "tried") for key in ("cpu_us", "cpu_vs_nginx"))) for one in RELAYS]
    return markdown(("a relay that reads nothing", "CPU µs a request", "against nginx, ×"), rows)


PAGES: dict[str, dict[str, Callable[[Figures], str]]] = {
    "performance.md": {
        "goals": goals.table,
        "machine": machine,
        "proxies": proxies,
        "latency": latency,
        "streaming": streaming,
        "scale": curves.sections,
        "enforce": pages.enforce,
        "budget": budget,
        "tried": tried,
    },
    "scaling.md": {
        "units": pages.units,
        "stored": pages.stored,
        "goal": pages.goal,
        "simulation": pages.simulation,
        "levers": pages.levers,
    },
}


def rewritten(name: str, page: str, figures: Figures) -> str:
    """`page` with every generated section anew. Raises BenchError where one's markers are missing."""
    for section, told in PAGES[name].items():
        begin, end = f"<!-- generated: {section} -->", f"<!-- end: {section} -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            raise BenchError(f"docs/{name} must have {begin} and {end} once each")
        before, rest = page.split(begin)
        page = f"{before}{begin}\n{told(figures)}\n{end}{rest.partition(end)[2]}"
    return page


def main() -> int:
    figures = {bench: read(bench) for bench in BENCHES}
    try:
        for name in PAGES:
            path = DOCS / name
            path.write_text(rewritten(name, path.read_text(), figures))
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    curves.plots(figures)
    pages.plots(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
