"""``memcore status`` says whether a training set, an index or a truth is still what a run was matched or evaluated with."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from memcore.audit import audit
from memcore.cli import main
from memcore.index import build_index, open_source
from memcore.sources import in_memory
from memcore.sources.in_memory import sampled_digest
from tests.support.run_files import config
from tests.support.synthetic import PROMPTS, SyntheticSampler, write_training_set


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("inputs")
    audit(made / "run", config(generations=24), sampler=SyntheticSampler(), prompts=PROMPTS, quiet=True)
    write_training_set(made)
    build_index(made / "index", open_source(made / "train.npy"))
    return made


def stale(run: Path, flag: str, place: Path, capsys: Any) -> list[dict[str, str]]:
    capsys.readouterr()
    assert main(["status", str(run), flag, str(place), "--json", "--allow-incomplete"]) == 0
    found: list[dict[str, str]] = json.loads(capsys.readouterr().out)["stale"]
    return found


def test_a_training_set_of_the_same_names_size_and_time(folder: Path, capsys: Any) -> None:
    run, training = folder / "run", folder / "train.npy"
    main(["match", str(run), "--training", str(training)])
    assert stale(run, "--training", training, capsys) == []
    before, images = training.stat(), np.load(training)
    np.save(training, np.concatenate([images[:3], images[3:4] ^ 255, images[4:]]))
    os.utime(training, ns=(before.st_atime_ns, before.st_mtime_ns))
    text = f"matches.parquet was made with something else than {training} holds now: give memcore match again"
    assert stale(run, "--training", training, capsys) == [{"file": "matches.parquet", "text": text}]
    np.save(training, images)


def test_a_training_set_that_was_resized(folder: Path, capsys: Any) -> None:
    run, images = folder / "run", np.load(folder / "train.npy")
    (folder / "large").mkdir()
    for n, image in enumerate(images):
        Image.fromarray(image).resize((32, 32)).save(folder / "large" / f"{n:03d}.png")
    main(["match", str(run), "--training", str(folder / "large"), "--resize", "16x16", "--delta", "0.5"])
    assert stale(run, "--training", folder / "large", capsys) == []
    (folder / "large" / "003.png").unlink()
    assert [entry["file"] for entry in stale(run, "--training", folder / "large", capsys)] == [
        "matches.parquet"
    ]


def test_an_index(folder: Path, capsys: Any) -> None:
    run, index = folder / "run", folder / "index"
    main(["match", str(run), "--index", str(index), "--trust-paths"])
    assert stale(run, "--index", index, capsys) == []
    np.save(folder / "more.npy", np.load(folder / "train.npy")[:5])
    build_index(folder / "other", open_source(folder / "more.npy"))
    assert [entry["file"] for entry in stale(run, "--index", folder / "other", capsys)] == ["matches.parquet"]


def test_truth(folder: Path, capsys: Any) -> None:
    run, truth = folder / "run", folder / "truth.json"
    main(["evaluate", str(run), "--truth", str(truth)])
    assert stale(run, "--truth", truth, capsys) == []
    (folder / "changed.json").write_text(truth.read_text().replace("50", "51"))
    (found,) = stale(run, "--truth", folder / "changed.json", capsys)
    assert found["text"].startswith("evaluation.json was made with something else than")


def test_what_the_run_was_not_made_with(folder: Path, capsys: Any) -> None:
    run = folder / "run"
    main(["match", str(run), "--training", str(folder / "train.npy")])
    main(["evaluate", str(run), "--against", "matches"])
    for flag, place, said in (
        ("--index", "index", "the run was not matched with an index"),
        ("--truth", "truth.json", "the run was not evaluated against planted truth"),
    ):
        capsys.readouterr()
        assert main(["status", str(run), flag, str(folder / place)]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("whole", [0, 1 << 28], ids=["sampled", "whole"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 2, 3), (16, 16, 3), (40, 30, 3)])
def test_a_sampled_digest_sees_each_image_and_its_name(
    shape: tuple[int, int, int], whole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_memory, "_WHOLE_BYTES", whole)
    images = np.random.default_rng(0).integers(0, 256, (5, *shape), dtype=np.uint8)
    names = [str(n) for n in range(5)]
    found = {sampled_digest(images, names), sampled_digest(images, ["x", *names[1:]])}
    for n in range(5):
        other = images.copy()
        other[n] ^= 255
        found.add(sampled_digest(other, names))
    found |= {sampled_digest(images[:4], names[:4]), sampled_digest(images[::-1], names)}
    assert len(found) == 9
    assert sampled_digest(images[:0], []) != sampled_digest(images[:1], ["0"])
