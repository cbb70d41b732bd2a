"""What the compiler of the per-request path would change in silence is not in the modules that it compiles (docs/decisions/0013)."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPILED = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"]["include"]


@pytest.mark.parametrize("path", COMPILED)
def test_a_compiled_module_has_no_class_that_would_be_another(path: str) -> None:
    source = ast.parse((ROOT / path).read_text())
    for node in ast.walk(source):
        if isinstance(node, ast.ClassDef):
            assert not node.keywords, f"{path}: the options of {node.name} would be dropped"
            assert "msgspec.Struct" not in map(ast.unparse, node.bases), f"{path}: {node.name} would be no Struct that msgspec knows"
