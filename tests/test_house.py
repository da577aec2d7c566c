"""How the tests themselves are laid out."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
#: Scripts that a test runs in a process of its own name their own module; any other import of a test is refused.
MODULES = sorted(p for p in TESTS.rglob("*.py") if "data" not in p.relative_to(TESTS).parts)


def _imported(path: Path) -> set[str]:
    """Names of the modules that a file imports, and of what it imports from them."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(TESTS)))
def test_no_module_imports_a_test(path: Path) -> None:
    last = {name for name in _imported(path) if name.startswith("tests.")}
    assert not {n for n in last if n.rpartition(".")[2].startswith("test_") or n.endswith("conftest")}


def test_every_folder_mirrors_a_room() -> None:
    """A folder of tests is named after a folder of memcore, or after one of the other things that are tested."""
    rooms = {p.name for p in (TESTS.parent / "memcore").iterdir() if p.is_dir()}
    others = {"core", "native", "kernels", "gpu", "support", "data", "docs", "project", "fuzz"}
    folders = {p.name for p in TESTS.iterdir() if p.is_dir() and not p.name.startswith("__")}
    assert folders <= rooms | others
