"""An evaluation holds what was found and what should have been, however many prompts and pairs a run has."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from memcore.cli import main
from memcore.errors import RunError
from memcore.evaluation.evaluate_run import evaluate_run
from memcore.evaluation.score import LISTED, evaluate
from memcore.runs.annotations import Annotations
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder, ShardRecord
from memcore.runs.start import RunStart

SHARD = 30


def write_run(path: Path, prompts: int, pairs: int) -> RunFolder:
    """The first prompt of each shard is a clique of three; every other has ``pairs`` pairs that make none of that size."""
    config = Config(
        source="custom", generations=2 * pairs, min_clique=3, edges_up_to=0.2, shard_prompts=SHARD
    )
    folder = RunStart(path, config, [f"prompt {n}" for n in range(prompts)]).create("f", {})
    apart = [{"i": 2 * n, "j": 2 * n + 1, "ssd": 50 * n % 4000} for n in range(pairs)]
    clique = [{"i": i, "j": j, "ssd": 100 * (i + j)} for i, j in ((0, 1), (0, 2), (1, 2))]
    for shard in folder.shards():
        rows = [_row(i, clique if i % SHARD == 0 else apart) for i in shard.prompt_ids]
        folder.write_shard(shard, ShardRecord(rows))
    return folder


def _row(prompt_id: int, pairs: list[dict[str, int]]) -> dict[str, Any]:
    found = len(pairs) == 3
    plain = {
        "generated": 800,
        "excluded": 0,
        "edges": len(pairs),
        "tile_bytes": 48,
        "pairs": pairs,
        "stop": "all",
    }
    about = {"status": "finding" if found else "none", "size": 3 if found else 2}
    return {
        "prompt_id": prompt_id,
        "prompt": f"prompt {prompt_id}",
        "mean_distance": 0.1 if found else None,
        **plain,
        **about,
    }


def truth_of(path: Path, prompts: int) -> Path:
    entries = [{"prompt": f"prompt {n}", "copies": 1, "expected": n % SHARD == 0} for n in range(prompts)]
    path.write_text(json.dumps({"format": 1, "prompts": entries}))
    return path


def peak_bytes(folder: RunFolder, truth: Path) -> int:
    tracemalloc.start()
    try:
        evaluate_run(folder.path, truth)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_pairs(tmp_path: Path) -> None:
    truth = truth_of(tmp_path / "truth.json", 2 * SHARD)
    few = peak_bytes(write_run(tmp_path / "few", 2 * SHARD, 4), truth)
    many = peak_bytes(write_run(tmp_path / "many", 2 * SHARD, 400), truth)
    all_pairs = 2 * SHARD * 400 * 200  # an object a pair, some 200 bytes
    assert many - few < all_pairs / 4


def test_memory_grows_only_with_what_the_prompts_themselves_take(tmp_path: Path) -> None:
    peaks = []
    for count in (2 * SHARD, 8 * SHARD):
        truth = truth_of(tmp_path / "truth.json", count)
        peaks.append(peak_bytes(write_run(tmp_path / str(count), count, 8), truth))
    # the entries of truth.json are held, about 500 bytes each, and each prompt's cliques at the thresholds
    assert peaks[1] - peaks[0] < 6 * SHARD * 4000


def test_prompts_that_say_nothing_are_counted_and_not_listed() -> None:
    def rows(count: int) -> Any:
        return (_row(n, []) for n in range(count))

    def entries(count: int) -> Any:
        return ({"copies": n % 2, "expected": None if n % 3 else n % 2 == 1} for n in range(count))

    few, many = (evaluate(rows(n), None, entries(n)) for n in (600, 6 * LISTED))
    assert (len(few["prompts"]), few["not_listed"]) == (600, 0)
    assert (len(many["prompts"]), many["not_listed"]) == (LISTED, 5 * LISTED)
    assert all(p["expected"] is True for p in many["prompts"])
    assert (many["positives"], many["negatives"], many["ignored"]) == (LISTED, LISTED, 4 * LISTED)
    assert [(g["copies"], g["prompts"]) for g in many["by_copies"]] == [(0, 3 * LISTED), (1, 3 * LISTED)]
    assert many["stages"]["candidates"]["fn"] == LISTED


def test_annotations_without_an_answer_say_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(tmp_path / "run", 2 * SHARD, 2)
    with pytest.raises(RunError, match="no annotations yet: memcore annotate"):
        evaluate_run(folder.path, against="annotations")
    with Annotations.create(folder.path, folder.digest, [(0, 0), (SHARD, 0)]) as annotations:
        with pytest.raises(
            RunError, match=r"nobody has labelled a single prompt.*memcore annotate .*run serves the page"
        ):
            evaluate_run(folder.path, against="annotations")
        annotations.append("a", 1, 0, "copy")
        annotations.append("b", 2, 0, "no")
        assert main(["evaluate", str(folder.path), "--against", "annotations"]) == 2
        assert "none of the 2 labels decides a single prompt" in capsys.readouterr().err
        assert not (folder.path / "evaluation.json").exists()
        annotations.append("c", 2, 0, "unsure")
    assert evaluate_run(folder.path, against="annotations")["positives"] == 1
