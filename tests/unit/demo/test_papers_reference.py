"""The hand-written references say what the code says: every metric and every reason, no more and no less."""

import re
from pathlib import Path

import prometheus_client

from frontiergate.dialects.refusal import refusal_for
from frontiergate.domain.reason import Reason
from frontiergate.telemetry.metrics import Metrics

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"


def rows(page: str, first: str) -> list[list[str]]:
    """The cells of a page's table rows that begin with a name in backticks which begins with `first`."""
    lines = (DOCS / page).read_text("utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith(f"| `{first}")]


def exported() -> dict[str, tuple[str, set[str]]]:
    """Every metric: its type and its labels, as a scrape shows them."""
    registry = prometheus_client.CollectorRegistry()
    metrics = Metrics(registry)
    metrics.configure(models=["m"], dialects=["openai"], directives=["d"], upstreams=["u"])
    metrics.request("m", "openai", "forward", None)
    metrics.severed("m", "policy_withdrawn")
    metrics.observed_violation("d")
    metrics.live_sessions({"m": 1})
    metrics.upstream_connections({"u": 1})
    metrics.client_connections(1)
    metrics.upstream_seconds("u", 0.1)
    metrics.policy_epoch(1)
    metrics.config_reload(True)
    metrics.flush()
    found: dict[str, tuple[str, set[str]]] = {}
    for family in registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[name] = (family.type, labels)
    return found


def test_the_metrics_page_has_every_metric_with_its_type_and_labels() -> None:
    written = {
        name.strip("`"): (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels, _ in rows("reference/metrics.md", "frontiergate_")
    }
    assert written == exported()


def test_no_page_names_a_metric_that_there_is_not() -> None:
    known = set(exported())
    for page in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        for name in re.findall(r"\bfrontiergate_[a-z_]+[a-z]", page.read_text("utf-8")):
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            assert base in known or any(metric.startswith(base) for metric in known), f"{page.name} names {name}"


def test_the_errors_page_has_every_reason_as_it_is_answered() -> None:
    written = {}
    for name, status, retry_after, _, next_step in rows("reference/errors.md", ""):
        written[name.strip("`")] = (status, retry_after.removesuffix(" s"), next_step)
    answered = {}
    for reason in Reason:
        refusal = refusal_for(reason, "", "", "")
        retry_after = "" if refusal.retry_after is None else str(refusal.retry_after)
        answered[reason.value] = (str(refusal.status), retry_after, refusal.next_step)
    assert written == answered
