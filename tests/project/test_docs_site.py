"""The site of ``make docs``: every public name has its place, links lead somewhere, and nothing comes from elsewhere."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("mkdocs")
pytest.importorskip("mkdocstrings_handlers.python")

ROOT = Path(__file__).parents[2]
#: What a program may import from. Their public names are those of ``__all__``, or all that they define.
MODULES = (
    "memcore",
    "memcore.errors",
    "memcore.guard",
    "memcore.images",
    "memcore.index",
    "memcore.isa",
    "memcore.report",
    "memcore.sampling",
    "memcore.torch_ops",
    "memcore.types",
)
#: Attributes that make a browser fetch something when it opens the page.
FETCHED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src")}


class Page(HTMLParser):
    """The anchors of a page, and what a browser would fetch for it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            if (tag, name) in FETCHED and value:
                self.fetched.append(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as ``make docs`` builds it: a warning, such as one of a broken link, is an error."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    return {
        path.relative_to(site).as_posix(): Page(path.read_text("utf-8"))
        for path in sorted(site.rglob("*.html"))
    }


@pytest.fixture(scope="module")
def reference(pages: dict[str, Page]) -> set[str]:
    return {
        anchor for name, page in pages.items() if name.startswith("reference/") for anchor in page.anchors
    }


def public_names(module: ModuleType) -> list[str]:
    if hasattr(module, "__all__"):
        return [name for name in module.__all__ if name != "__version__"]
    names: list[str] = []
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names += [target.id for target in targets if isinstance(target, ast.Name)]
    return [name for name in names if not name.startswith("_")]


def places(module: str, name: str, value: Any) -> set[str]:
    """Return the anchors under which a name may stand: as it is imported, or where it is defined."""
    if isinstance(value, ModuleType):
        return {value.__name__}
    found = {f"{module}.{name}"}
    if hasattr(value, "__qualname__"):
        found.add(f"{value.__module__}.{value.__qualname__}")
    return found


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_in_the_reference(module: str, reference: set[str]) -> None:
    loaded = importlib.import_module(module)
    names = public_names(loaded)
    assert names
    missing = [name for name in names if not places(module, name, getattr(loaded, name)) & reference]
    assert missing == []


def test_what_the_documentation_imports_is_in_the_reference(reference: set[str]) -> None:
    """Of Python blocks in README and docs: ``from memcore... import name``."""
    text = "\n".join(path.read_text("utf-8") for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    blocks = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    imports = re.findall(r"^from (memcore[\w.]*) import (.+)$", blocks, re.MULTILINE)
    assert imports
    for module, names in imports:
        for name in names.split(", "):
            value = getattr(importlib.import_module(module), name)
            assert places(module, name, value) & reference, f"{module}.{name}"


def test_nothing_comes_from_elsewhere(site: Path, pages: dict[str, Page]) -> None:
    assert "index.html" in pages
    for name, page in pages.items():
        assert [url for url in page.fetched if re.match(r"(https?:)?//", url)] == [], name
    for path in site.rglob("*.css"):
        text = path.read_text("utf-8")
        assert not re.search(r"""(url\(|@import)\s*["']?(https?:)?//""", text), path


def test_every_page_is_built(pages: dict[str, Page]) -> None:
    written = {path.name for path in (ROOT / "docs").glob("*.md")} | {
        "index.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    }
    assert {name.replace(".md", ".html") for name in written} <= set(pages)


def test_the_link_to_an_example_has_its_file(site: Path) -> None:
    assert (site / "examples" / "embed.c").read_text() == (ROOT / "examples" / "embed.c").read_text()


def converted(text: str) -> str:
    path = ROOT / "docs" / "site" / "docstrings.py"
    spec = importlib.util.spec_from_file_location("docs_site_docstrings", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    result: str = module.to_markdown(text, "a.b")
    return result


def test_docstrings_become_markdown() -> None:
    assert (
        converted("Use ``x``, see :func:`f` and :class:`c.D`.")
        == "Use `x`, see [`f`][a.b.f] and [`c.D`][c.D]."
    )
    sections = "First.\n\nParameters\n----------\nn, m\n    How many,\n    each.\nk\n    More.\n\nEnd."
    assert (
        converted(sections) == "First.\n\n**Parameters**\n\n- `n, m`: How many, each.\n- `k`: More.\n\nEnd."
    )
    assert (
        converted("One.\n\n>>> 1 + 1\n2\n\n    formula")
        == "One.\n\n```pycon\n>>> 1 + 1\n2\n```\n\n    formula"
    )
