"""The page as tests read it: parsed, with its texts by the id of the element that holds them."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

from memcore.report import write_report
from tests.support.report_runs import RunWriter, finding_row

VOID = {"meta", "link", "img", "br", "hr", "input"}
PAPER = "https://arxiv.org/abs/2301.13188"


class Page(HTMLParser):
    """Parse the file: tags with their attributes, texts by the id of the innermost element that has one."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[tuple[str, str | None]] = []
        self.feed(html)
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append((tag, dict(attrs).get("id")))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open[-1][0] == tag, f"</{tag}> closes <{self._open[-1][0]}>"
        self._open.pop()

    def handle_data(self, data: str) -> None:
        if any(tag == "style" for tag, _ in self._open):
            return
        for name in ["", *(name for _, name in self._open if name)]:
            self.texts.setdefault(name, []).append(data)

    def text(self, name: str = "") -> str:
        """Return all text, or that inside the element with this id."""
        return " ".join(" ".join(self.texts.get(name, [])).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def cards(self, prefix: str = "finding-") -> list[str]:
        return [a["id"] for a in self.all("article") if a["id"].startswith(prefix)]


def render_page(run: Path, *compare: Path) -> Page:
    return Page(write_report(run, compare=compare).read_text("utf-8"))


def copy_run(run: Path, to: Path, *without: str) -> Path:
    """Copy a run, its pictures as links, without some of its files."""
    shutil.copytree(run, to, dirs_exist_ok=True, copy_function=os.link)
    for name in without:
        (to / name).unlink()
    return to


def empty_run(path: Path, prompts: int = 3) -> RunWriter:
    writer = RunWriter(path)
    writer.rows = [finding_row(i, f"prompt {i}", []) for i in range(prompts)]
    return writer


def assert_inert(page: Page) -> None:
    """Assert that nothing runs or loads: no script or handler, nothing against the policy, no address but the paper's."""
    tags = {tag for tag, _ in page.tags}
    assert not tags & {
        "script",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "audio",
        "video",
        "foreignobject",
    }
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), f"<{tag} {name}>"
            assert name not in ("style", "srcset", "action", "xlink:href", "data")
            if name == "src":
                assert value.startswith("data:image/")
            if name == "href":
                assert value.startswith("#") or value in ("data:,", PAPER)
                assert value != PAPER or tag == "a"
    style = re.search(r"<style>(.*?)</style>", page.html, re.DOTALL)
    assert style
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    policy = next(a["content"] for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert f"style-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
