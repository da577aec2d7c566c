"""``fetch`` from a stranger's place, and what a stranger's unfinished run holds although its digests fit."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memcore.errors import DamagedFileError, RunError, StoreError
from memcore.runs.checkpoint import checkpoint_bytes, read_checkpoint
from memcore.runs.fetch import fetch
from memcore.runs.folder import RunFolder
from memcore.runs.reading import FORMAT
from memcore.runs.received import read_spent
from memcore.runs.status import status
from memcore.storage.remote import ObjectStorage

DATA = Path(__file__).parents[1] / "data" / f"format-{FORMAT}"
Patch = pytest.MonkeyPatch


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DATA / "finished", tmp_path / "run"))


def test_names_that_no_run_has_are_left_out(run: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    odd = ["..", "..\\..\\evil.x", "a\nb.x", "a\0b.x", "\ud800.x", "x" * 300 + ".x", "\x1b[31m.x"]
    names = ObjectStorage.names
    monkeypatch.setattr(
        ObjectStorage, "names", lambda self, at="": names(self, at) + odd * (at == "findings")
    )
    assert fetch(run.as_uri(), tmp_path / "copy")["left_out"] == len(odd)
    assert sorted(os.listdir(tmp_path / "copy/findings")) == sorted(os.listdir(run / "findings"))


def test_folders_without_end(run: Path, tmp_path: Path) -> None:
    (run / "images" / "loop").symlink_to(".")
    assert fetch(run.as_uri(), tmp_path / "copy")["left_out"] == 1


@pytest.mark.parametrize("kind", ["device", "pipe"])
def test_what_is_no_plain_file_is_refused_by_name(run: Path, tmp_path: Path, kind: str) -> None:
    path = run / "findings" / "other.parquet"
    path.symlink_to("/dev/null") if kind == "device" else os.mkfifo(path)
    with pytest.raises(StoreError, match=r"other\.parquet cannot be reached: .*no plain file"):
        fetch(run.as_uri(), tmp_path / "copy")
    assert not (tmp_path / "copy" / "run.toml").exists()


def test_a_file_that_is_gone(run: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    names = ObjectStorage.names
    monkeypatch.setattr(
        ObjectStorage, "names", lambda self, at="": names(self, at) + ["gone.parquet"] * (at == "findings")
    )
    with pytest.raises(StoreError, match=r"gone\.parquet was removed while the run was copied"):
        fetch(run.as_uri(), tmp_path / "copy")
    assert not (tmp_path / "copy" / "run.toml").exists()


def test_another_run_toml_at_the_end(run: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    names = ObjectStorage.names

    def changing(self: ObjectStorage, at: str = "") -> list[str]:
        (run / "run.toml").write_bytes(b"x = 1")
        return names(self, at)

    monkeypatch.setattr(ObjectStorage, "names", changing)
    with pytest.raises(RunError, match=r"run\.toml was changed while the run was copied"):
        fetch(run.as_uri(), tmp_path / "copy")
    assert not (tmp_path / "copy" / "run.toml").exists()


def test_a_pipe_in_the_target(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "match.json").unlink()
    os.mkfifo(copy / "match.json")
    fetch(run.as_uri(), copy)
    assert (copy / "match.json").read_bytes() == (run / "match.json").read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"flags": "9"},
        {"flags": 0},
        {"seeds": [[1]]},
        {"seeds": [-1]},
        {"prompt_id": [3]},
        {"prompt_id": 10**6},
        {"shape": None},
        {"device": "meta"},
        {"files": [{"bytes": "x"}]},
        {"not_kept": []},
    ],
    ids=str,
)
def test_forged_images_in_flight_are_left_out_and_said(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = RunFolder.open(shutil.copytree(DATA / "stopped", tmp_path / "run"))
    shard = folder.pending()[0]
    head = {"prompt_id": shard.prompt_ids[0], "seeds": [1], "flags": "1", "shape": [2, 2, 3], "device": ""}
    journal = folder.journal(shard)
    journal.append({**head, **change}, [])
    journal.sync()
    again = folder.journal(shard)
    assert not again.records
    assert "a record such as memcore never writes" in again.lost[0]
    with pytest.warns(RuntimeWarning, match="such as memcore never writes"):
        status(folder)


@pytest.mark.parametrize(
    "head",
    [
        {"answered": "1", "images": 7},
        {"answered": "1", "images": [{"prompt_id": 3}]},
        {"asked": "1", "images": [[3, 1]], "price": "NaN"},
        {"failed": [], "prompts": None},
        {"forgotten": 3},
        {},
    ],
    ids=str,
)
def test_forged_answers_are_refused(tmp_path: Path, head: dict[str, Any]) -> None:
    folder = RunFolder.open(shutil.copytree(DATA / "stopped", tmp_path / "run"))
    shard = folder.pending()[0]
    journal = folder.received(shard)
    journal.append(head, [])
    journal.close()
    with pytest.raises(DamagedFileError, match="holds a record such as memcore never writes"):
        folder.received(shard)
    with pytest.raises(DamagedFileError, match="what was received cannot be counted"):
        read_spent(folder)


def twice(record: Any) -> None:
    record.rows.append(record.rows[0])


def no_cliques(record: Any) -> None:
    record.rows[0].update(status="finding", cliques=[])


def other_text(record: Any) -> None:
    record.rows[0]["prompt"] = "what nobody asked for"


def odd_status(record: Any) -> None:
    record.rows[0]["status"] = "certain"


def negative(record: Any) -> None:
    record.rows[0]["generated"] = -5


def late(record: Any) -> None:
    record.started = 1e300


@pytest.mark.parametrize("change", [twice, no_cliques, other_text, odd_status, negative, late])
def test_a_forged_checkpoint_is_left_aside_and_said(tmp_path: Path, change: Callable[[Any], None]) -> None:
    folder = RunFolder.open(shutil.copytree(DATA / "stopped", tmp_path / "run"))
    (path,) = (folder.path / "partial").iterdir()
    shard = next(s for s in folder.shards() if s.task in path.name)
    record = read_checkpoint(path.read_bytes(), shard.prompt_ids, "it")
    change(record)
    path.write_bytes(checkpoint_bytes(record))
    with pytest.warns(RuntimeWarning, match="it is not used"):
        assert not folder.read_partial(shard).rows
