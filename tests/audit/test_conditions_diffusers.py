"""``memcore audit`` on saved pipelines of labels, of given images and of neither, by the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diffusers")

from PIL import Image

from memcore.cli import main
from memcore.runs.folder import RunFolder
from tests.support import tiny_conditioned, tiny_pipelines
from tests.support.given_pictures import SIDE, picture, upper_half

COMMON = [
    "--steps",
    "2",
    "--generations",
    "4",
    "--batch-size",
    "4",
    "--min-clique",
    "2",
    "--workers",
    "1",
    "--quiet",
]


def saved(maker: Callable[[], Any], folder: Path) -> str:
    maker().save_pretrained(folder / "model")
    return str(folder / "model")


def audited(folder: Path, model: str, *words: str) -> RunFolder:
    assert main(["audit", str(folder / "run"), "--model", model, *COMMON, *words]) in (0, 5)
    return RunFolder.open(folder / "run")


def test_a_list_of_classes(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("1\n7\n1000\n")
    run = audited(
        tmp_path,
        saved(tiny_conditioned.dit, tmp_path),
        *("--prompts", str(tmp_path / "classes.txt"), "--guidance-scale", "2"),
    )
    rows = run.findings()
    assert [row["generated"] for row in rows] == [4, 4, 0]
    assert rows[2]["status"] == "failed"
    assert "has classes 0 to 999, got label 1000" in run.quarantine()[-1]["detail"]


def test_inpainting_is_resumed_without_its_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, pixels in (("a", picture(1)), ("b", picture(2)), ("m", upper_half())):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    (tmp_path / "list.csv").write_text("prompt,image,mask\na dog,a.png,m.png\n,b.png,m.png\n")
    model = saved(tiny_conditioned.inpainting, tmp_path)
    words = ["--guidance-scale", "2", "--prompts", str(tmp_path / "list.csv"), "--strength", "1"]
    assert main(["audit", str(tmp_path / "run"), "--model", model, *COMMON, *words]) == 2
    assert 'as conditions = "image,mask"' in capsys.readouterr().err
    run = audited(tmp_path, model, *words, "--conditions", "mask,image", "--keep", "all")
    assert (run.config.height, run.config.width, run.config.conditions) == (SIDE, SIDE, "image,mask")
    assert [row["generated"] for row in run.findings()] == [4, 4]
    assert run.meta["sampler"]["describe"]["call.strength"] == "1.0"
    before = run.findings_digest()
    (tmp_path / "list.csv").unlink()
    (tmp_path / "a.png").unlink()
    (shard, *_) = run.done()
    run.forget(shard)
    assert main(["audit", str(tmp_path / "run"), "--model", model, "--workers", "1", "--quiet"]) in (0, 5)
    assert RunFolder.open(tmp_path / "run").findings_digest() == before


def test_an_unconditional_model_without_a_list(tmp_path: Path) -> None:
    run = audited(tmp_path, saved(tiny_pipelines.ddim, tmp_path))
    assert list(run.prompts) == ["unconditional"]
    assert [row["generated"] for row in run.findings()] == [4]
