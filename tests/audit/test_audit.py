"""Runs: the same findings byte for byte however they were made, and clear refusals."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memcore.audit import audit, filter_stored
from memcore.errors import ConfigError, RunError
from memcore.evaluation.evaluate_run import evaluate_run
from memcore.images import UnreadableImage, decode_file
from memcore.matching.match_run import match_run
from memcore.runs.config import Config
from memcore.runs.config_file import from_mapping
from memcore.runs.folder import RunFolder
from memcore.runs.meta import difference
from memcore.runs.summary import summary
from memcore.storage.local import LocalStorage
from memcore.system import atomic_files
from tests.support.run_files import GENERATIONS, config, findings_bytes, image_digest, run
from tests.support.synthetic import MEMORISED, PROMPTS, SyntheticSampler, write_stored, write_training_set


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(tmp_path_factory.mktemp("undisturbed") / "run")


def test_finds_what_was_planted(undisturbed: RunFolder) -> None:
    rows = undisturbed.findings()
    assert [r["prompt"] for r in rows] == PROMPTS
    assert {r["prompt"] for r in rows if r["status"] == "finding"} == set(MEMORISED)
    for row in rows:
        if row["status"] == "finding":
            assert row["size"] >= 20
            assert row["proven"]
            assert row["medoid_seed"] in row["seeds"]
            assert 0 < row["mean_distance"] < 0.15
            saved = {int(p.stem) for p in undisturbed.image_path(row["prompt_id"], 0).parent.iterdir()}
            assert saved == set(row["seeds"])
    black = rows[PROMPTS.index("nothing but black")]
    assert (black["status"], black["excluded"], black["edges"]) == ("none", GENERATIONS, 0)


@pytest.mark.parametrize(
    "changes",
    [{"batch_size": 1}, {"batch_size": 7}, {"batch_size": 1000}],
    ids=["batch-1", "batch-7", "batch-1000"],
)
def test_same_findings_with_another_batch_size(undisturbed: RunFolder, tmp_path: Path, changes: dict) -> None:
    other = run(tmp_path / "run", **changes)
    assert findings_bytes(other) == findings_bytes(undisturbed)


def test_same_findings_where_all_images_are_kept(undisturbed: RunFolder, tmp_path: Path) -> None:
    """Only the digests of the images that were not kept before are added."""
    other = run(tmp_path / "run", shard_prompts=2, keep="all")
    for row, before in zip(other.findings(), undisturbed.findings(), strict=True):
        kept, few = row.pop("images"), before.pop("images")
        assert row == before
        assert {image["seed"]: image for image in few or []}.items() <= {
            image["seed"]: image for image in kept or []
        }.items()


def test_same_findings_in_two_halves(undisturbed: RunFolder, tmp_path: Path) -> None:
    half = run(tmp_path / "run", part=(1, 2))
    assert half.pending()
    whole = run(tmp_path / "run", part=(2, 2))
    assert not whole.pending()
    assert findings_bytes(whole) == findings_bytes(undisturbed)
    assert image_digest(whole) == image_digest(undisturbed)


def test_a_finished_run_does_nothing_again(undisturbed: RunFolder) -> None:
    before = {p: p.stat().st_mtime_ns for p in undisturbed.path.rglob("*.parquet")}
    sampler = SyntheticSampler()
    run(undisturbed.path, sampler)
    assert sampler.batches == []
    assert before == {p: p.stat().st_mtime_ns for p in undisturbed.path.rglob("*.parquet")}


def test_batches_mix_prompts_and_stay_full(tmp_path: Path) -> None:
    sampler = SyntheticSampler()
    run(tmp_path / "run", sampler, shard_prompts=7)
    first, *rest = [16] * (7 * GENERATIONS // 16) + [7 * GENERATIONS % 16]
    assert sampler.batches == [first, 1, *rest]  # the first request of a run is sampled twice, to compare


def test_changed_configuration_is_refused_with_the_difference(undisturbed: RunFolder) -> None:
    before = (undisturbed.path / "run.toml").read_bytes()
    with pytest.raises(ConfigError) as caught:
        run(undisturbed.path, threshold=0.1, generations=41)
    assert "generations: 40 -> 41" in str(caught.value)
    assert "threshold: 0.15 -> 0.1" in str(caught.value)
    with pytest.raises(ConfigError, match="fingerprint"):
        run(undisturbed.path, SyntheticSampler(fingerprint="synthetic-2"))
    with pytest.raises(ConfigError, match="another list of prompts"):
        audit(undisturbed.path, config(), sampler=SyntheticSampler(), prompts=PROMPTS[:-1], quiet=True)
    assert (undisturbed.path / "run.toml").read_bytes() == before


def test_a_failing_prompt_is_quarantined_and_the_rest_goes_on(undisturbed: RunFolder, tmp_path: Path) -> None:
    folder = run(tmp_path / "run", SyntheticSampler(fail="an old clock"), batch_size=64, shard_prompts=7)
    rows = folder.findings()
    assert [r["prompt"] for r in rows if r["status"] == "failed"] == ["an old clock"]
    assert [(q["reason"], q["source"]) for q in folder.quarantine()] == [("sampler", "an old clock")]
    kept = [r for r in rows if r["status"] != "failed"]
    assert kept == [r for r in undisturbed.findings() if r["prompt"] != "an old clock"]
    assert summary(folder)["failed"] == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_filter_finds_the_same_cliques(undisturbed: RunFolder, tmp_path: Path, workers: int) -> None:
    stored = write_stored(tmp_path / "stored", GENERATIONS)
    options = Config(source="stored", images=str(stored), batch_size=16, shard_prompts=2)
    folder = filter_stored(tmp_path / "run", options, workers=workers, quiet=True)
    theirs = undisturbed.findings()
    for row, sampled in zip(folder.findings(), theirs, strict=True):
        assert row["prompt"] == sampled["prompt"]
        assert row["size"] == sampled["size"]
        assert row["mean_distance"] == sampled["mean_distance"]
        assert row["excluded"] == sampled["excluded"]


def shards_done(run_folder: Path) -> int:
    return len(list(run_folder.glob("manifest/*")))


def wait_for_shards(run_folder: Path, count: int, process: subprocess.Popen[Any]) -> None:
    """Return when ``count`` shards are done, or the run has ended: a moment that no machine is too fast for."""
    deadline = time.monotonic() + 60
    while shards_done(run_folder) < count and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)


def test_kill_and_resume_gives_the_same_bytes(tmp_path: Path) -> None:
    """SIGKILL at random moments of a run with two workers; the run is resumed until it is done."""
    stored = write_stored(tmp_path / "stored", 300, PROMPTS * 6)
    command = [sys.executable, "-m", "memcore.cli", "filter"]
    flags = [
        "--images",
        str(stored),
        "--shard-prompts",
        "1",
        "--batch-size",
        "20",
        "--workers",
        "2",
        "--quiet",
        "--allow-incomplete",  # some prompts are black throughout
    ]
    subprocess.run([*command, str(tmp_path / "whole"), *flags], check=True, capture_output=True)
    whole = RunFolder.open(tmp_path / "whole")
    assert sum(row["status"] == "finding" for row in whole.findings()) == 6 * len(MEMORISED)
    rng = random.Random(7)
    kills = 0
    for goal in (1, 9, 17, 25):
        process = subprocess.Popen([*command, str(tmp_path / "killed"), *flags], stderr=subprocess.DEVNULL)
        wait_for_shards(tmp_path / "killed", goal, process)
        time.sleep(rng.uniform(0.0, 0.02))
        kills += process.poll() is None
        process.kill()
        process.wait()
    assert kills >= 2
    last = subprocess.run(
        [*command, str(tmp_path / "killed"), *flags], capture_output=True, text=True, check=False
    )
    assert last.returncode == 0, last.stderr
    killed = RunFolder.open(tmp_path / "killed")
    assert not killed.pending()
    assert findings_bytes(killed) == findings_bytes(whole)
    assert image_digest(killed) == image_digest(whole)
    assert not list(killed.path.rglob(f"{atomic_files.TEMPORARY}*"))


def test_workers_die_with_their_launcher(tmp_path: Path) -> None:
    """After SIGKILL of the launcher no process writes into the run any more."""
    stored = write_stored(tmp_path / "stored", 300, PROMPTS * 18)
    command = [sys.executable, "-m", "memcore.cli", "filter", str(tmp_path / "run"), "--images", str(stored)]
    process = subprocess.Popen([*command, "--workers", "2", "--shard-prompts", "1", "--quiet"])
    wait_for_shards(tmp_path / "run", 3, process)
    process.kill()
    process.wait()
    time.sleep(0.3)
    before = sorted((tmp_path / "run").rglob("*"))
    assert shards_done(tmp_path / "run") < len(PROMPTS) * 18, "there was work left to go on with"
    time.sleep(1.0)
    assert sorted((tmp_path / "run").rglob("*")) == before


def test_interrupt_is_exit_code_3_and_says_how_to_go_on(tmp_path: Path) -> None:
    stored = write_stored(tmp_path / "stored", 400, [f"{p} {n}" for n in range(6) for p in PROMPTS])
    command = [sys.executable, "-m", "memcore.cli", "filter", str(tmp_path / "run"), "--images", str(stored)]
    process = subprocess.Popen(
        [*command, "--workers", "1", "--shard-prompts", "1", "--quiet"], stderr=subprocess.PIPE, text=True
    )
    wait_for_shards(tmp_path / "run", 1, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 3, said
    assert "To resume: memcore filter" in said
    assert "Traceback" not in said


def test_two_launchers_on_one_folder(tmp_path: Path) -> None:
    def lock(part: tuple[int, int] | None = None) -> AbstractContextManager[None]:
        return LocalStorage(tmp_path / "run").lock(part)

    for first, second in ((None, None), (None, (1, 2)), ((1, 2), None), ((1, 2), (1, 2))):
        with lock(first), pytest.raises(RunError, match="another memcore process is at work"), lock(second):
            pass
    with lock((1, 2)), lock((2, 2)):
        pass


def test_unreadable_images_are_quarantined_by_name_and_reason(tmp_path: Path) -> None:
    from PIL import Image

    folder = tmp_path / "stored" / "a red fox"
    folder.mkdir(parents=True)
    sampler = SyntheticSampler()
    from memcore.types import Request

    good = sampler.sample([Request(0, "a red fox", s) for s in range(30)]).pixels
    for seed, pixels in enumerate(good):
        Image.fromarray(pixels).save(folder / f"{seed}.png")
    (folder / "100.png").write_bytes(b"not an image")
    (folder / "101.png").write_bytes((folder / "1.png").read_bytes()[:200])
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "102.png")
    Image.fromarray(np.full((16, 16), 40_000, np.uint16)).save(folder / "103.png")
    Image.fromarray(np.zeros((16, 16, 4), np.uint8)).save(folder / "104.png")
    Image.fromarray(np.full((16, 16, 3), 7, np.uint8)).save(folder / "105.png")
    options = Config(source="stored", images=str(tmp_path / "stored"))
    run_folder = filter_stored(tmp_path / "run", options, workers=1, quiet=True)
    reasons = {Path(q["source"]).name: q["reason"] for q in run_folder.quarantine()}
    assert reasons == {
        "100.png": "unreadable",
        "101.png": "truncated",
        "102.png": "wrong-size",
        "103.png": "depth",
        "104.png": "alpha",
    }
    (row,) = run_folder.findings()
    assert row["status"] == "finding"
    assert row["excluded"] == 1
    assert row["generated"] == 31


def test_decode_grey_palette_opaque_alpha_and_orientation(tmp_path: Path) -> None:
    from PIL import Image

    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert np.array_equal(decode_file(tmp_path / "grey.png"), np.repeat(grey[..., None], 3, axis=2))
    opaque = np.dstack([grey, grey, grey, np.full_like(grey, 255)])
    Image.fromarray(opaque).save(tmp_path / "opaque.png")
    assert np.array_equal(decode_file(tmp_path / "opaque.png")[..., 0], grey)
    turned = Image.fromarray(np.repeat(grey[..., None], 3, axis=2)[:8])
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    assert decode_file(tmp_path / "turned.png").shape == (16, 8, 3)
    with pytest.raises(UnreadableImage):
        decode_file(tmp_path / "missing.png")


def test_match_and_evaluate(undisturbed: RunFolder, tmp_path: Path) -> None:
    training = write_training_set(tmp_path)
    rows = match_run(undisturbed.path, training)
    assert len(rows) == 2
    for row in rows:
        planted = 20 + PROMPTS.index(undisturbed.prompts[row["prompt_id"]])
        assert row["training_index"] == planted
        assert row["extracted"]
        assert row["eidetic"] == 1
        assert row["copies"] == row["size"]
        assert row["l2"] <= row["tiled_l2"] < 0.15
        assert row["neighbors"][0]["index"] == planted
        assert (undisturbed.path / "training" / f"{planted:08d}.png").exists()
    result = evaluate_run(undisturbed.path, tmp_path / "truth.json")
    extracted = result["stages"]["extracted"]
    assert (extracted["tp"], extracted["fp"], extracted["fn"]) == (2, 0, 0)
    assert extracted["precision"]["value"] == extracted["recall"]["value"] == 1.0
    assert extracted["precision"]["low"] == pytest.approx(0.1581, abs=1e-4)
    assert extracted["average_precision"] == 1.0
    assert result["negatives"] == len(PROMPTS) - 2
    saved = json.loads((undisturbed.path / "evaluation.json").read_text())
    assert saved == result


def test_match_at_distance_says_not_extracted(undisturbed: RunFolder, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    np.save(tmp_path / "other.npy", rng.integers(0, 256, (9, 16, 16, 3), dtype=np.uint8))
    rows = match_run(undisturbed.path, tmp_path / "other.npy", metric="tiled_l2")
    assert not any(row["extracted"] for row in rows)
    assert all(row["copies"] == 0 for row in rows)


def test_unfinished_run_is_not_matched(tmp_path: Path) -> None:
    run(tmp_path / "run", part=(1, 2))
    with pytest.raises(RunError, match="match needs a finished run"):
        match_run(tmp_path / "run", write_training_set(tmp_path))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"stepz": 3}, "unknown name 'stepz'; did you mean 'steps'?"),
        ({"source": "custom", "generations": 0}, "generations must be at least 1, got 0"),
        ({"source": "custom", "generations": "many"}, "generations must be an integer, got 'many'"),
        ({"source": "custom", "threshold": 2}, "threshold must be a number in [0, 1], got 2.0"),
        ({"source": "custom", "grid": [4]}, "grid must be two integers, got [4]"),
        ({"source": "custom", "min_clique": 1}, "min_clique must be at least 2, got 1"),
        ({"source": "custom", "keep": "some"}, "keep must be one of findings, all, got 'some'"),
        ({"source": "diffusers"}, "model is missing"),
        ({"source": "diffusers", "model": "m"}, "steps is missing"),
        ({"source": "stored"}, "images is missing"),
        (
            {"source": "custom", "dtype": "int4"},
            "dtype must be one of float32, float16, bfloat16, got 'int4'",
        ),
    ],
)
def test_wrong_configuration(values: dict, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping(values)
    assert text in str(caught.value)


def test_configuration_round_trip(undisturbed: RunFolder) -> None:
    again = RunFolder.open(undisturbed.path)
    assert again.config == undisturbed.config
    assert again.digest == undisturbed.digest
    assert difference(again.config.as_dict(), undisturbed.config.as_dict()) == []


def test_not_a_run_folder(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is not a run folder: it holds no run\.toml"):
        RunFolder.open(tmp_path)
    (tmp_path / "run.toml").write_text("[run]\nformat = 99\n")
    with pytest.raises(RunError, match="format 99, which a newer memcore made"):
        RunFolder.open(tmp_path)
    (tmp_path / "run.toml").write_text("=")
    with pytest.raises(RunError, match="damaged"):
        RunFolder.open(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("x")
    with pytest.raises(RunError, match="is not empty"):
        run(tmp_path / "other")
