"""``memcore match`` on a run: by brute force and by an index, to the same rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from memcore.audit import audit
from memcore.cli import main
from memcore.errors import StoreError
from memcore.matching.match_run import match_run
from memcore.runs.config import Config
from tests.support.synthetic import PROMPTS, SyntheticSampler, write_training_set


@pytest.mark.parametrize("distance", ["l2", "tiled_l2"])
def test_an_index_gives_the_rows_of_brute_force(
    tmp_path: Path, distance: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = Config(source="custom", generations=30, batch_size=16)
    run = audit(tmp_path / "run", config, sampler=SyntheticSampler(), prompts=PROMPTS, quiet=True).path
    training, index = write_training_set(tmp_path), tmp_path / "index"
    assert main(["index", str(index), "--source", str(training), "--shard-images", "7", "--quiet"]) == 0
    answers = []
    for against in (["--training", str(training)], ["--index", str(index), "--source", str(training)]):
        flags = ["--distance", distance, "--adaptive", "--neighbors", "3"]
        # 5, not 0: every image of one prompt is black, so that nothing is decided of it
        assert main(["match", str(run), *against, *flags]) == 5
        answers.append(pq.read_table(run / "matches.parquet").to_pylist())
    brute, indexed = answers
    assert brute == indexed
    assert any(row["extracted"] for row in brute)
    assert all(row["members_extracted"] >= row["copies"] for row in brute)
    assert all(row["adaptive"] is not None and len(row["neighbors"]) == 3 for row in brute)
    about = json.loads((run / "match.json").read_text())
    assert about["count"] == len(np.load(training))
    assert (about["resize"], about["distance"]) == (None, distance)
    capsys.readouterr()
    # An index of another size, and a run whose images were removed.
    assert (
        main(["index", str(tmp_path / "small"), "--source", str(training), "--resize", "8x8", "--quiet"]) == 0
    )
    assert main(["match", str(run), "--index", str(tmp_path / "small"), "--trust-paths"]) == 2
    assert "index with a resize to this size" in capsys.readouterr().err
    next((run / "images").rglob("*.png")).unlink()
    assert main(["match", str(run), "--index", str(index), "--trust-paths"]) == 2
    assert "the run's images were removed" in capsys.readouterr().err


def test_training_images_are_not_written_through_a_link(tmp_path: Path) -> None:
    """A-D17: the run may be somebody else's."""
    config = Config(source="custom", generations=30, batch_size=16)
    run = audit(tmp_path / "run", config, sampler=SyntheticSampler(), prompts=PROMPTS, quiet=True).path
    outside = tmp_path / "outside"
    outside.mkdir()
    (run / "training").symlink_to(outside)
    with pytest.raises(StoreError, match="is a link, and memcore writes through no links"):
        match_run(run, write_training_set(tmp_path))
    assert not list(outside.iterdir())
