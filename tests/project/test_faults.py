"""The list of situations that went wrong names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
LISTING = (TESTS / "FAULTS.md").read_text("utf-8")
ROWS = re.findall(r"^\| ([FAD]-\d+) \|.*\| ([^|]*) \|$", LISTING, re.MULTILINE)


def test_every_named_test_exists() -> None:
    named = {name for _, tests in ROWS for name in re.findall(r"`([^`]+)`", tests)}
    held: dict[str, set[str]] = {}
    missing = []
    for name in sorted(named):
        file, _, test = name.partition("::")
        if file not in held:
            path = TESTS / file
            tree = ast.parse(path.read_text("utf-8")) if path.exists() else ast.Module([], [])
            held[file] = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        if test not in held[file]:
            missing.append(name)
    assert missing == []


def test_every_row_names_a_test_and_none_is_there_twice() -> None:
    assert len(ROWS) == len(re.findall(r"^\| [FAD]-", LISTING, re.MULTILINE))
    assert all("::" in tests for _, tests in ROWS)
    assert len({number for number, _ in ROWS}) == len(ROWS)
