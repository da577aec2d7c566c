"""docs/guard.md is followed from start to end, with the demo model as one's own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("diffusers")

from diffusers import DiffusionPipeline
from PIL import Image

from memcore.guard import Decision, Verdict
from memcore.runs.folder import RunFolder
from memcore.study.dataset import load, load_demo
from tests.support.index_sets import natural
from tests.support.shell import run_shell

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guard.md").read_text("utf-8")


@pytest.mark.slow
def test_the_page_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load(load_demo().folder)
    (tmp_path / "my-model").symlink_to(load_demo().model)
    for folder, images in (
        ("train", data.images[:40]),
        ("held_out", natural(np.random.default_rng(0), 400, 64)),
    ):
        (tmp_path / folder).mkdir()
        for i, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / folder / f"{i:03d}.png")
    Image.fromarray(data.images[0]).save(tmp_path / "copied.png")
    Image.fromarray(natural(np.random.default_rng(1), 1, 64)[0]).save(tmp_path / "generated.png")
    (tmp_path / "prompts.txt").write_text(f"{data.items[0].caption}\n")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"pipe": DiffusionPipeline.from_pretrained(load_demo().model)}
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert [kind for kind, _ in blocks] == ["sh", "python", "python", "python", "sh"]
    for kind, block in blocks:
        if kind == "sh":
            run_shell(block, tmp_path)
        elif named := re.match(r"# (\w+\.py)\n", block):
            (tmp_path / named[1]).write_text(block)
        else:
            exec(compile(block, "guard.md", "exec"), names)
    assert names["given"][0] is not None
    assert names["given"][1] is None
    assert names["decision"].name == "000.png"
    assert names["guard"].counts.checked == 4
    assert len(names["output"].decisions) == 1
    lines = [json.loads(line) for line in (tmp_path / "decisions.jsonl").read_text().splitlines()]
    assert [line["images"] for line in lines] == [2, 1, 1]
    run = RunFolder.open(tmp_path / "run")
    (row,) = run.findings()
    assert row["generated"] == 32
    assert row["excluded"] > 0
    assert [entry["reason"] for entry in run.quarantine()] == ["guarded"]


def test_the_page_names_what_there_is() -> None:
    for verdict in Verdict:
        assert f"| `{verdict}` |" in PAGE
    assert all(f"`{name}`" in PAGE for name in Decision.__annotations__ if name != "verdict")
