"""What the compiler of the per-request path would change in silence is not in the modules that it compiles (docs/decisions/0013)."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
HOOK = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"]
COMPILED = HOOK["include"]


@pytest.mark.parametrize("path", COMPILED)
def test_a_compiled_module_has_no_class_that_would_be_another(path: str) -> None:
    source = ast.parse((ROOT / path).read_text())
    for node in ast.walk(source):
        if isinstance(node, ast.ClassDef):
            assert not node.keywords, f"{path}: the options of {node.name} would be dropped"
            assert "msgspec.Struct" not in map(ast.unparse, node.bases), f"{path}: {node.name} would be no Struct that msgspec knows"


@pytest.mark.parametrize("path", COMPILED)
def test_a_compiled_function_gives_each_kind_of_exception_a_name_of_its_own(path: str) -> None:
    """The compiler takes a name for the first kind that it stands for, and raises TypeError for any other."""
    for function in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            kinds: dict[str, set[str]] = {}
            for node in ast.walk(function):
                if isinstance(node, ast.ExceptHandler) and node.name and node.type:
                    kinds.setdefault(node.name, set()).add(ast.unparse(node.type))
            assert all(len(kind) == 1 for kind in kinds.values()), f"{path}, {function.name}: {kinds}"


@pytest.mark.parametrize("path", COMPILED)
def test_a_compiled_function_asks_an_attribute_but_once_whether_it_is_none(path: str) -> None:
    """The compiler takes the first answer as standing, whatever was called since, and raises TypeError where it does not: a caller
    that had stopped reading once ended a worker so. Take the attribute into a local name, and compare with that."""
    for function in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            asked = [
                ast.unparse(node.left)
                for node in ast.walk(function)
                if isinstance(node, ast.Compare) and isinstance(node.left, ast.Attribute) and ast.unparse(node.comparators[0]) == "None"
            ]
            assert len(asked) == len(set(asked)), f"{path}, {function.name}: {asked}"


def test_the_compiler_is_given_the_stubs_that_the_type_checker_is() -> None:
    """It builds in an environment of its own, where a missing one is an error."""
    stubs = {name for name in PROJECT["project"]["optional-dependencies"]["dev"] if name.startswith("types-")}
    assert stubs <= set(HOOK["dependencies"])
