"""``memcore audit`` on saved diffusers pipelines: the same findings byte for byte, whatever the batch, threads, kills."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memcore.cli import main
from memcore.runs.folder import RunFolder
from tests.support import tiny_pipelines
from tests.support.run_files import findings_bytes, image_digest


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pipelines") / "sd"
    tiny_pipelines.make("stable diffusion 1").save_pretrained(folder)
    (folder.parent / "prompts.txt").write_text("a dog\nred cat\nblue\n")
    return folder


def arguments(model: Path, run: Path, *more: str) -> list[str]:
    fixed = [
        "--steps",
        "1",
        "--guidance-scale",
        "1",
        "--generations",
        "12",
        "--height",
        "16",
        "--width",
        "16",
    ]
    # random weights draw much the same for every seed, so this wide threshold gives half of all edges
    graph = ["--threshold", "0.29", "--min-clique", "3", "--shard-prompts", "1", "--quiet"]
    prompts = str(model.parent / "prompts.txt")
    return ["audit", str(run), "--model", str(model), "--prompts", prompts, *fixed, *graph, *more]


@pytest.fixture(scope="module")
def once(model: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = tmp_path_factory.mktemp("once") / "run"
    assert main(arguments(model, run, "--batch-size", "12", "--workers", "1", "--threads", "1")) == 0
    return RunFolder.open(run)


def test_images_were_sampled_and_compared(once: RunFolder) -> None:
    rows = once.findings()
    assert [row["prompt"] for row in rows] == ["a dog", "red cat", "blue"]
    assert all(row["generated"] == 12 for row in rows)
    assert sum(row["edges"] for row in rows) > 0
    described = once.meta["sampler"]["describe"]
    assert described["pipeline"] == "StableDiffusionPipeline"
    assert described["call.num_inference_steps"] == "1"


@pytest.mark.parametrize(
    "more",
    [
        ["--batch-size", "5", "--workers", "1", "--threads", "1"],
        ["--batch-size", "12", "--workers", "1", "--threads", "2"],
        ["--batch-size", "12", "--workers", "2", "--threads", "1"],
    ],
    ids=["batch-5", "threads-2", "workers-2"],
)
def test_same_bytes(once: RunFolder, model: Path, tmp_path: Path, more: list[str]) -> None:
    assert main(arguments(model, tmp_path / "run", *more)) == 0
    other = RunFolder.open(tmp_path / "run")
    assert findings_bytes(other) == findings_bytes(once)
    assert image_digest(other) == image_digest(once)


def test_killed_and_resumed(once: RunFolder, model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "memcore.cli", *arguments(model, tmp_path / "run", "--batch-size", "12")]
    process = subprocess.Popen([*command, "--workers", "1", "--threads", "1"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "run").glob("manifest/*.json")) and time.monotonic() < deadline:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = RunFolder.open(tmp_path / "run")
    assert killed.pending()
    assert main(arguments(model, tmp_path / "run")) == 0
    assert findings_bytes(killed) == findings_bytes(once)
    assert image_digest(killed) == image_digest(once)


def test_changed_sampler_is_refused(once: RunFolder, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments(model, once.path), "--guidance-scale", "2"]) == 2
    said = capsys.readouterr().err
    assert "guidance_scale: 1.0 -> 2.0" in said
    assert "is not changed" in said


def test_wrong_pipelines_are_one_line_and_code_2(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = str(model.parent / "prompts.txt")
    base = ["audit", str(tmp_path / "run"), "--prompts", prompts, "--steps", "1", "--quiet"]
    assert main([*base, "--model", str(tmp_path)]) == 2
    assert "cannot be loaded as a diffusers pipeline" in capsys.readouterr().err
    assert main([*base, "--model", str(model)]) == 2
    assert "guidance_scale is missing" in capsys.readouterr().err
    assert main([*base, "--model", str(model), "--guidance-scale", "1", "--device", "cuda"]) == 2
    assert "device='cuda' cannot be used" in capsys.readouterr().err
    assert not (tmp_path / "run" / "run.toml").exists()


def test_unconditional_pipeline(tmp_path: Path) -> None:
    tiny_pipelines.make("ddim").save_pretrained(tmp_path / "ddim")
    (tmp_path / "prompts.txt").write_text("unconditional\n")
    flags = ["--model", str(tmp_path / "ddim"), "--prompts", str(tmp_path / "prompts.txt"), "--steps", "1"]
    assert (
        main(["audit", str(tmp_path / "run"), *flags, "--generations", "12", "--workers", "1", "--quiet"])
        == 0
    )
    assert RunFolder.open(tmp_path / "run").findings()[0]["generated"] == 12
