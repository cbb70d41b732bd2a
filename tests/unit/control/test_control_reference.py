"""docs/reference/api.md names every route and every problem."""

from pathlib import Path

from frontiergate.control.app import ROUTES
from frontiergate.control.problems import KINDS

TEXT = (Path(__file__).parents[3] / "docs" / "reference" / "api.md").read_text(encoding="utf-8")


def test_every_route_is_in_the_reference() -> None:
    for method, path, _, _ in ROUTES:
        stem = path.replace("{id:.+}", "{id}")
        moved = stem.rpartition("/")
        assert f"`{method} {stem}`" in TEXT or (f"`/{moved[2]}`" in TEXT and f"`{method} {moved[0]}/" in TEXT), (method, path)


def test_every_problem_is_in_the_reference() -> None:
    for slug, (status, _) in KINDS.items():
        assert f'<a id="{slug}"></a>`#{slug}` | {status} |' in TEXT, slug
