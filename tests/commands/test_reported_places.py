"""What is named on the command line and is no plain file, or is damaged: told at once, in a line. See tests/FAULTS.md."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.command_line import filter_images, memcore, noise, png, write_copies

AUDIT = ("--sampler", "memcore.study.synthetic:SyntheticSampler", "--generations", "12", "--workers", "1")
#: Commands, with FILE where the odd file stands; RUN is a finished run, SET a training set.
COMMANDS = {
    "config": ("audit", "NEW", "--config", "FILE"),
    "prompts": ("audit", "NEW", *AUDIT, "--prompts", "FILE"),
    "truth": ("evaluate", "RUN", "--truth", "FILE"),
    "copies": ("match", "RUN", "--training", "SET", "--copies", "FILE"),
    "embeddings": ("prompts", "NEW", "--embeddings", "FILE", "--source", "SET"),
    "training": ("match", "RUN", "--training", "FILE"),
    "source": ("index", "NEW", "--source", "FILE"),
    "images": ("filter", "NEW", "--images", "FILE"),
}
SUFFIXES = {"config": ".toml", "prompts": ".txt", "truth": ".json"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    (root / "train").mkdir()
    (root / "train" / "0.png").write_bytes(png())
    filter_images(root / "run", write_copies(root / "images", noise(1)[0]))
    return root


def words(kind: str, made: Path, new: Path, file: Path) -> list[str]:
    places = {"RUN": made / "run", "SET": made / "train", "NEW": new, "FILE": file}
    return [str(places.get(word, word)) for word in COMMANDS[kind]]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@pytest.mark.parametrize("kind", COMMANDS)
def test_a_pipe_is_refused_without_waiting(made: Path, tmp_path: Path, kind: str) -> None:
    pipe = tmp_path / f"pipe{SUFFIXES.get(kind, '.npy')}"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "memcore.cli", *words(kind, made, tmp_path / "new", pipe)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", ["copies", "embeddings", "training", "source", "images"])
def test_a_damaged_array_is_told(made: Path, tmp_path: Path, kind: str) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 4), np.float32))
    data = bytearray((tmp_path / "a.npy").read_bytes())
    data[data.index(b"}")] ^= 1 << 5  # NumPy parses the header as Python, which raises tokenize.TokenError
    (tmp_path / "a.npy").write_bytes(bytes(data))
    said = memcore(*words(kind, made, tmp_path / "new", tmp_path / "a.npy"))
    assert said.code == 2, said
    assert said.err.startswith("memcore: ")


def test_a_configuration_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_bytes(b"\xef\xbb\xbfgeneration = 0\n")
    said = memcore("audit", tmp_path / "run", *AUDIT, "--config", tmp_path / "c.toml")
    assert (said.code, "did you mean 'generations'" in said.err) == (2, True), said


@pytest.mark.parametrize(
    "line",
    [
        "generations = 1000000000000000000000000000000",
        "a = " + "[" * 5000,
        "generations = " + "9" * 5000,
        "threshold = nan",
        "generations = true",
        "guidance_scale = 1979-05-27",
        "sampler_options = '" + "[" * 100_000 + "'",
        'sampler_options = \'{"a": ' + "9" * 6000 + "}'",
    ],
    ids=lambda line: line[:24],
)
def test_a_wrong_configuration_is_told(tmp_path: Path, line: str) -> None:
    (tmp_path / "c.toml").write_text(line)
    (tmp_path / "p.txt").write_text("a fox\n")
    options = ("--sampler", "memcore.study.synthetic:SyntheticSampler", "--prompts", tmp_path / "p.txt")
    said = memcore("audit", tmp_path / "run", *options, "--config", tmp_path / "c.toml", "--workers", 1)
    assert said.code == 2, said
    assert said.err.startswith("memcore: ")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no folder that somebody is in")
def test_a_working_folder_that_is_gone_is_told(made: Path, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    script = (
        "import os, sys; os.chdir(sys.argv.pop(1)); os.rmdir(os.getcwd()); "
        "from memcore.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script, tmp_path / "gone", "filter", tmp_path / "run"]
    done = subprocess.run(
        [*command, "--images", made / "images", "--quiet", "--workers", "1"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr == "memcore: the working folder was removed: change to one that exists\n"
