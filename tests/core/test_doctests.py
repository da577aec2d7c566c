"""Every example in a docstring and in the README runs."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import memcore

ROOT = Path(__file__).parents[2]
PUBLIC = (
    "pairwise_tiled_l2",
    "tiled_l2_graph",
    "max_clique",
    "max_cliques",
    "find_cliques",
    "knn",
    "PromptGraph",
    "DevicePrompts",
    "to_uint8",
    "get_include",
    "get_library",
)


def _modules() -> list[str]:
    names = [m.name for m in pkgutil.walk_packages(memcore.__path__, "memcore.")]
    return ["memcore", *[n for n in names if not n.endswith(("_core", "__main__"))]]


@pytest.mark.parametrize("name", _modules())
def test_docstrings(name: str) -> None:
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("name", PUBLIC)
def test_public_functions_have_an_example(name: str) -> None:
    assert ">>>" in (getattr(memcore, name).__doc__ or "")


def test_readme_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's Python blocks run one after the other, in an empty folder."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.S)
    assert len(blocks) >= 3
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "readme"}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
