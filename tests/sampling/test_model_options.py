"""The variant, revision and scheduler of a model, from the command line to the fingerprint; configurations without them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from memcore.audit.source import make_source
from memcore.cli import main
from memcore.errors import ConfigError
from memcore.runs.config import Config
from tests.support import tiny_pipelines

#: Of configurations that leave the three empty, by the code before they were there.
DIGESTS: dict[str, tuple[dict[str, Any], str]] = {
    "stored": (
        {"source": "stored", "images": "x"},
        "f838ff7ea166b73ccd1369e2b50a58773addc248609582e65bc0fca0746a27fe",
    ),
    "custom": ({"source": "custom"}, "29209c464a76a32202f8ee9208f72847b776ada6df7acbaa5ddd5874ce7136b8"),
    "diffusers": (
        {"model": "m", "steps": 20, "guidance_scale": 7.5},
        "74a64fd375aa37484e9f316a5094f5d64cc18e15c3f4268531580d4d0fdf00d1",
    ),
    "sequential": (
        {"model": "m", "steps": 20, "budget": "sequential", "seed": 7},
        "6fa81d5167b7e48788a86778181e9522c2cae3eb762b59739c9958f734fbcb08",
    ),
    "screen": (
        {"source": "custom", "screen": "noise_magnitude", "edges_up_to": 0.5},
        "b134c2b032db6ee4824c65d9d201ab9f05481ad285dc2aa5862354baed2f122e",
    ),
}


@pytest.mark.parametrize("name", DIGESTS)
def test_old_digests_stay(name: str) -> None:
    options, digest = DIGESTS[name]
    assert Config(**options).digest("f", "p") == digest
    assert not {"variant", "revision", "scheduler"} & set(Config(**options).as_dict())


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder that holds only files of the variant fp16."""
    tiny_pipelines.make("stable diffusion 1").save_pretrained(tmp_path / "model", variant="fp16")
    return tmp_path / "model"


def test_a_folder_of_one_variant(model: Path) -> None:
    """Row 46: the message spoke of a .bin file that nobody wants, and the command line had no such flag."""
    config = Config(model=str(model), steps=2, guidance_scale=3.0)
    with pytest.raises(ConfigError, match=r"has files of the variant fp16: give variant \(--variant\)"):
        make_source(config)
    made: Any = make_source(Config(model=str(model), steps=2, guidance_scale=3.0, variant="fp16"))
    euler: Any = make_source(
        Config(
            model=str(model), steps=2, guidance_scale=3.0, variant="fp16", scheduler="EulerDiscreteScheduler"
        )
    )
    assert euler.describe()["component.scheduler"].startswith("EulerDiscreteScheduler ")
    assert made.fingerprint != euler.fingerprint


def test_the_command_line_takes_them(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a fox\n" + "x" * 40 + "\n")
    flags = ["--prompts", prompts, "--steps", 1, "--guidance-scale", 1.0, "--generations", 2, "--workers", 1]
    flags += ["--batch-size", 2, "--height", 16, "--width", 16, "--quiet", "--model", model]
    flags += ["--variant", "fp16", "--scheduler", "EulerDiscreteScheduler"]
    assert main(["audit", str(tmp_path / "run"), *map(str, flags)]) in (0, 5), capsys.readouterr().err
    told = tomllib.loads((tmp_path / "run" / "run.toml").read_text())
    assert told["config"]["variant"] == "fp16"
    assert "EulerDiscreteScheduler " in str(told["sampler"])
    from memcore.runs.folder import RunFolder

    noted = [(q["prompt_id"], q["reason"]) for q in RunFolder.open(tmp_path / "run").quarantine()]
    assert noted == [(1, "long-prompt")]


def test_a_long_prompt_is_told_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """N-X1: CLIP's warning came with each batch, from each worker, with the whole prompt: 347 kB for 64 images."""
    tiny_pipelines.make("stable diffusion 1").save_pretrained(tmp_path / "model")
    (tmp_path / "prompts.txt").write_text("".join(f"{letter * 40}\n" for letter in "xyz"))
    flags = ["--prompts", tmp_path / "prompts.txt", "--steps", 1, "--guidance-scale", 1.0, "--generations", 6]
    flags += ["--batch-size", 2, "--height", 16, "--width", 16, "--model", tmp_path / "model", "--workers", 2]
    assert main(["audit", str(tmp_path / "run"), *map(str, flags)]) in (0, 5)
    out, err = capfd.readouterr()
    assert "truncated" not in out + err
    assert "Token indices" not in out + err
    assert "x" * 30 not in out + err
    assert "3 prompts with more tokens than the model reads" in out
    assert (out + err).count("more tokens than") == 1
    from memcore.runs.folder import RunFolder

    quarantine = RunFolder.open(tmp_path / "run").quarantine()
    assert [(q["prompt_id"], q["reason"]) for q in quarantine] == [(i, "long-prompt") for i in range(3)]


def test_other_warnings_of_a_pipeline_are_heard() -> None:
    import logging

    from diffusers import StableDiffusionPipeline

    from memcore.sampling.diffusers.loading import untold_truncation

    logger = logging.getLogger(StableDiffusionPipeline.__module__)
    cut = "The following part of your input was truncated because CLIP can only handle sequences up to 77 tokens"
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logger.addHandler(handler)
    try:
        with untold_truncation():
            logger.warning(cut)
            logger.warning("something else")
        logger.warning(cut)
    finally:
        logger.removeHandler(handler)
    assert heard == ["something else", cut]


def test_they_are_of_a_model() -> None:
    with pytest.raises(
        ConfigError, match="variant is of a diffusers model, but source is 'custom': leave it out"
    ):
        Config(source="custom", variant="fp16")
