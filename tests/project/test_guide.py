"""docs/audit_your_own_model.md is followed from start to end, with the demo model as one's own."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("diffusers")
pytest.importorskip("jinja2")

from PIL import Image

from memcore.runs.folder import RunFolder
from memcore.study.dataset import TrainingSet, load, load_demo
from tests.support.shell import run_shell

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "audit_your_own_model.md").read_text("utf-8")
#: Training images of the demo: a memorised one three times, another twice, and others once.
COPIES = {0: 3, 1: 2, 30: 1, 31: 1, 32: 1}


def training_set() -> TrainingSet:
    return load(load_demo().folder)


def prepare(folder: Path) -> None:
    """Make what the page says that a reader has: a model, training images with captions, and generations."""
    data = training_set()
    (folder / "my-model").symlink_to(load_demo().model)
    (folder / "train").mkdir()
    for number, (index, copies) in enumerate(COPIES.items()):
        for copy in range(copies):
            name = f"copy-{copy}" if number == 0 else f"{index}-{copy}"
            Image.fromarray(data.images[index]).save(folder / "train" / f"{name}.png")
            (folder / "train" / f"{name}.txt").write_text(data.items[index].caption)
    stored = folder / "generations" / data.items[0].caption
    stored.mkdir(parents=True)
    for seed in range(12):
        noise = np.random.default_rng(seed).integers(-2, 3, data.images[0].shape)
        near = np.clip(data.images[0].astype(int) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(near).save(stored / f"{seed}.png")


@pytest.mark.slow
def test_the_page_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert [kind for kind, _ in blocks].count("sh") >= 9
    for kind, block in blocks:
        if kind == "sh":
            run_shell(block, tmp_path)
        elif named := re.match(r"# (\w+\.py)\n", block):
            (tmp_path / named[1]).write_text(block)
        elif "import pandas" not in block or importlib.util.find_spec("pandas") is not None:
            exec(compile(block, "audit_your_own_model.md", "exec"), {"__name__": "guide"})
    run = RunFolder.open(tmp_path / "run")
    assert [row["prompt"] for row in run.findings()] == [training_set().items[i].caption for i in (0, 1)]
    assert all(row["extracted"] for row in run.matches() or [])
    assert len(run.matches() or []) == 2
    findings = [row["seeds"] for row in run.findings()]
    for other in (
        "run-parts",
        "run-mine",
    ):  # parts of a run, and the same model by a function: the same images
        assert [row["seeds"] for row in RunFolder.open(tmp_path / other).findings()] == findings
    assert (tmp_path / "again.png").stat().st_size > 0
    assert RunFolder.open(tmp_path / "run-stored").matches()


def test_every_step_has_a_command_that_is_run() -> None:
    """A step without one would be words; what serves a page until it is stopped is tested in tests/annotate."""
    steps = re.findall(r"^## (\d\. .*?)\n(.*?)(?=^## )", PAGE, re.DOTALL | re.MULTILINE)
    assert len(steps) == 8
    for title, text in steps:
        assert "```sh" in text or ("```console" in text and "annotate" in text), title
