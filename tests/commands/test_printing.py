"""An answer in JSON is alone on standard output, whatever samplers and libraries print."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from memcore.system import console
from tests.support.command_line import memcore

SAMPLER = ("--sampler", "tests.support.noisy_sampler:NoisySampler")
NOISE = ("imported", "made", "sampling", "from C", "from a child")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("a fox\na hill\n")
    return path


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(
            ("audit", "{run}", "--config", "{config}", "--workers", "2", "--quiet"), id="audit with workers"
        ),
        pytest.param(("plan", "{config}", "--seconds", "1"), id="plan"),
    ],
)
def test_what_a_sampler_prints_goes_to_standard_error(
    words: tuple[str, ...], prompts: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        f"source = 'custom'\nsampler = '{SAMPLER[1]}'\nprompts = '{prompts}'\ngenerations = 12\nshard_prompts = 1\n"
    )
    given = [word.format(run=tmp_path / "run", config=config) for word in words]
    done = subprocess.run(
        [sys.executable, "-m", "memcore", *given, "--json"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert isinstance(json.loads(done.stdout), dict)
    for said in NOISE:
        assert said in done.stderr


def test_in_a_program_that_calls_main(prompts: Path, tmp_path: Path) -> None:
    """Standard output may be any object there, and is its own again afterwards."""
    before = sys.stdout
    for number in range(2):
        said = memcore(
            *("audit", tmp_path / f"run {number}", *SAMPLER, "--prompts", prompts, "--generations", 12),
            *("--workers", 1, "--quiet", "--json"),
        )
        assert said.code == 0, said.err
        assert json.loads(said.out)["prompts"] == 2
    assert sys.stdout is before
    assert console.output() is before


def test_a_line_goes_where_it_belongs_and_later_ones_too(capfd: pytest.CaptureFixture[str]) -> None:
    with console.output_kept():
        print("printed")
        console.write('{"answer": 1}')
    console.write("later")
    out, err = capfd.readouterr()
    assert (out, err) == ('{"answer": 1}\nlater\n', "printed\n")
