"""The folders of csrc: which may include which, and that every instruction set is in the one list of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"
SUFFIXES = {".cpp", ".hpp", ".h", ".inl", ".cu"}

# From the bottom up: a folder may include those that it names, all of them above it in this list. tests/ may include all.
LAYERS: dict[str, set[str]] = {
    "include": set(),
    "cuda": set(),
    "runtime": set(),
    "panels": {"runtime"},
    "tiled_l2": {"panels", "runtime"},
    "graph": {"tiled_l2", "panels", "runtime"},
    "knn": {"panels", "runtime"},
    "sketches": {"panels", "runtime"},
    "clique": {"runtime", "cuda"},
    "dispatch": {"panels", "graph"},
    "arguments": {"runtime", "panels", "graph", "clique", "dispatch"},
    "capi": {"include", "runtime", "panels", "tiled_l2", "graph", "knn", "clique", "dispatch", "arguments"},
    "bind": {
        "cuda",
        "runtime",
        "panels",
        "tiled_l2",
        "graph",
        "knn",
        "sketches",
        "clique",
        "dispatch",
        "arguments",
    },
}
ROW = re.compile(r'^MEMCORE_(X86_64|AARCH64)\((\w+), (\w+), (\w+), "(-[^"]+)"\)$')


def includes() -> dict[str, set[str]]:
    """Return the folders that each folder's files include, itself left out."""
    found: dict[str, set[str]] = {}
    for path in CSRC.rglob("*"):
        folder = path.relative_to(CSRC).parts[0]
        if path.suffix not in SUFFIXES or folder == "tests":
            continue
        used = found.setdefault(folder, set())
        for name in re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(), re.M):
            assert (CSRC / name).is_file(), f"{path} includes {name}, which is not a path from csrc/"
            if "/" in name:
                used.add(name.split("/")[0])
        used.discard(folder)
    return found


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return folders that include one another in a circle, or an empty list."""
    finished: set[str] = set()

    def visit(folder: str, path: list[str]) -> list[str]:
        if folder in path:
            return [*path[path.index(folder) :], folder]
        if folder in finished:
            return []
        for used in sorted(graph.get(folder, set())):
            if found := visit(used, [*path, folder]):
                return found
        finished.add(folder)
        return []

    for folder in sorted(graph):
        if found := visit(folder, []):
            return found
    return []


def test_folders_include_one_another_in_no_circle() -> None:
    assert circle(includes()) == []


def test_a_circle_would_be_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_the_layers_are_in_order() -> None:
    below: set[str] = set()
    for folder, allowed in LAYERS.items():
        assert allowed <= below, f"{folder} may include {sorted(allowed - below)}, which is not below it"
        below.add(folder)


@pytest.mark.parametrize("folder", LAYERS)
def test_a_folder_includes_only_what_its_layer_allows(folder: str) -> None:
    assert includes()[folder] - LAYERS[folder] == set()


def test_every_folder_with_sources_is_in_a_layer() -> None:
    assert set(includes()) == set(LAYERS)


def test_every_row_of_the_instruction_sets_is_read_by_all_its_readers() -> None:
    """The preprocessor takes any spelling of a row; setup.py and run.sh take one line of this form."""
    lines = (CSRC / "instruction_sets.def").read_text().splitlines()
    rows = [line for line in lines if line.startswith("MEMCORE_")]
    for line in rows:
        assert ROW.match(line), line
    names = [ROW.sub(r"\2", line) for line in rows]
    assert len(set(names)) == len(names)
    for line in rows:
        match = ROW.match(line)
        assert match
        _, name, panels_table, graph_table, _ = match.groups()
        assert panels_table in names
        assert graph_table in names
        assert (CSRC / "panels" / f"{panels_table}.cpp").is_file()
        assert (CSRC / "graph" / f"{graph_table}.cpp").is_file()
        assert f"found.{name} =" in (CSRC / "dispatch" / "cpu_features.cpp").read_text()


@pytest.mark.parametrize("folder", ["panels", "graph"])
def test_kernel_tables_name_what_they_fill(folder: str) -> None:
    """Positions say nothing to a reader, and two functions of one type could change places unseen."""
    contract = (CSRC / folder / "contract.hpp").read_text()
    struct = contract[contract.index("struct Kernels {") : contract.index("\n};")]
    functions = re.findall(r"\(\*(\w+)\)\(", struct)
    tables = 0
    for path in sorted((CSRC / folder).glob("*.cpp")):
        for table in re.findall(r"constinit const Kernels kernels_\w+\{(.*?)\};", path.read_text(), re.S):
            tables += 1
            assert re.findall(r"\.(\w+) = ", table)[-len(functions) :] == functions, path
    assert tables >= 2
