"""An image walks through the rooms in their order and rarely enters a file again; docs/architecture.md lists all rooms."""

from __future__ import annotations

import importlib.util
import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tomli_w")
pytest.importorskip("jinja2")

ROOT = Path(__file__).parents[2]
#: Rooms in the order in which an image passes them.
ROOMS = ("sources", "images", "sampling", "graphs", "runs", "audit", "index", "matching", "report")


def load_walk() -> Any:
    spec = importlib.util.spec_from_file_location("walk", ROOT / "docs" / "walk.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["walk"] = module
    spec.loader.exec_module(module)
    return module


def test_an_image_walks_through_the_rooms_in_their_order() -> None:
    generated, training = load_walk().walk_all(ROOT)
    # half of what they were before there were rooms: 10 and 12 by this script, on commit 812194a
    assert generated["returns"] <= 5, generated["order"]
    assert training["returns"] <= 6, training["order"]
    orders = [generated["folders"]["audit"], training["folders"]["index"]]
    for folders in orders:
        assert len(folders) > 1
        assert all(ROOMS.index(a) < ROOMS.index(b) for a, b in pairwise(folders)), folders
    # a run's folder may be a stranger's: its pictures are decoded as stored images are, under the same limits
    assert generated["folders"]["report"] == ["runs", "report", "images"]
    # match_run answers with rows, so matching is entered first: then the run, its images, the index, and its source again
    assert training["folders"]["match"] == ["matching", "runs", "images", "index", "sources", "commands"]


def test_the_counts_are_those_of_the_order_of_files() -> None:
    steps = [("a.py", "f"), ("a.py", "g"), ("b.py", "f"), ("a.py", "h"), ("c.py", "f"), ("b.py", "g")]
    assert load_walk().count_returns(steps) == (["a.py", "b.py", "a.py", "c.py", "b.py"], 2)


def test_old_paths_lead_to_files() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    table = page.partition("## Where old paths went")[2]
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", table, re.MULTILINE)
    assert len(rows) > 100
    for old, new in rows:
        paths = re.findall(r"`([^`]+)`", new)
        assert paths, old
        assert [path for path in paths if not (ROOT / path).exists()] == [], old


def test_every_room_is_on_the_page() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8").partition("## How things are done")[0]
    rooms = [path.parent.name for path in (ROOT / "memcore").glob("*/__init__.py")]
    assert [room for room in rooms if f"`{room}/`" not in page and room != "jobs"] == []
