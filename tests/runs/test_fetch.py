"""A run that is fetched again holds what the run in the store holds now."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memcore.audit import audit
from memcore.errors import ConfigError, StoreError
from memcore.matching.match_run import match_run
from memcore.report.run import read_run
from memcore.runs.fetch import fetch
from memcore.runs.folder import RunFolder
from memcore.storage.remote import ObjectStorage
from tests.support.run_files import config
from tests.support.synthetic import PROMPTS, SyntheticSampler, write_training_set


def files(run: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(run)): p.read_bytes()
        for p in run.rglob("*")
        if p.is_file() and not p.name.startswith(".")
    }


def test_what_changed_since_is_copied_again(tmp_path: Path) -> None:
    """Prompts that failed were sampled again, and the run was matched with another training set."""
    run, copy = tmp_path / "run", tmp_path / "copy"
    options = {"prompts": PROMPTS, "quiet": True}
    training = write_training_set(tmp_path)
    audit(run, config(generations=24), sampler=SyntheticSampler(fail="rain"), **options)  # type: ignore[arg-type]
    match_run(run, training)
    url = run.as_uri()
    assert fetch(url, copy)["present"] == 0
    assert files(copy) == files(run)
    again = fetch(url, copy)
    # manifests and files of the run's folder itself are always copied
    assert (
        again["copied"]
        == len(list(run.glob("manifest/*"))) + len([p for p in run.iterdir() if p.is_file()]) - 1
    )
    audit(run, config(generations=24), sampler=SyntheticSampler(), retry_failed=True, **options)  # type: ignore[arg-type]
    np.save(tmp_path / "other.npy", np.load(training)[::-1])
    match_run(run, tmp_path / "other.npy")
    fetch(url, copy)
    there = files(run)
    assert there.items() <= files(copy).items()
    assert not read_run(copy).stale
    assert RunFolder.open(copy).findings() == RunFolder.open(run).findings()


def test_a_first_copy_that_was_cut_off_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, other, copy = tmp_path / "run", tmp_path / "other", tmp_path / "copy"
    audit(run, config(generations=24), sampler=SyntheticSampler(), prompts=PROMPTS, quiet=True)
    audit(other, config(generations=25), sampler=SyntheticSampler(), prompts=PROMPTS, quiet=True)
    stream = ObjectStorage.stream

    def broken(self: ObjectStorage, name: str) -> object:
        if name.startswith("manifest/"):
            raise ConnectionError("the network is down")
        return stream(self, name)

    with monkeypatch.context() as patched:
        patched.setattr(ObjectStorage, "stream", broken)
        with pytest.raises(StoreError, match=r"network is down; give the command again$"):
            fetch(run.as_uri(), copy)
    begun = files(copy)
    assert begun
    assert "run.toml" not in begun
    with pytest.raises(ConfigError, match="holds another run, or a part of one"):
        fetch(other.as_uri(), copy)
    assert fetch(run.as_uri(), copy)["present"] > 0
    assert files(copy) == files(run)
    assert not (copy / ".fetching").exists()
    (copy / ".fetching").write_text("what a kill left")
    fetch(run.as_uri(), copy)
    assert not (copy / ".fetching").exists()
