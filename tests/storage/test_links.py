"""A run's folder may come from somebody else, and may be removed: nothing is written outside it or beside what is gone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from memcore.errors import RunError, StoreError
from memcore.report import page
from memcore.report.page import write_report
from memcore.runs import layout
from memcore.storage.local import LocalStorage
from tests.support.report_runs import RunWriter


def test_no_link_inside_is_written_through(tmp_path: Path) -> None:
    outside, run = tmp_path / "outside", tmp_path / "run"
    (outside / "deeper").mkdir(parents=True)
    (outside / "victim").write_text("kept")
    run.mkdir()
    (run / "training").symlink_to(outside)
    (run / "victim").symlink_to(outside / "victim")
    storage = LocalStorage(run)
    for write in (
        lambda: storage.write("training/0.png", b"x"),
        lambda: storage.write("training/deeper/0.png", b"x"),
        lambda: storage.write_new("training/0.png", b"x"),
        lambda: storage.remove("training/victim"),
    ):
        with pytest.raises(StoreError, match="is a link, and memcore writes through no links"):
            write()
    storage.write("victim", b"new")  # a file takes the link's place
    assert not (run / "victim").is_symlink()
    assert (outside / "victim").read_text() == "kept"
    assert sorted(path.name for path in outside.rglob("*")) == ["deeper", "victim"]


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    LocalStorage(tmp_path / "run").write("images/0.png", b"x")
    assert (tmp_path / "disk" / "images" / "0.png").read_bytes() == b"x"


def test_the_report_is_not_written_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    RunWriter(run).write()
    (tmp_path / "outside").mkdir()
    (run / layout.REPORT_PAGE).parent.symlink_to(tmp_path / "outside")
    monkeypatch.setattr(page, "render", lambda subject: "page")
    with pytest.raises(StoreError, match="is a link"):
        write_report(run)
    assert not list((tmp_path / "outside").iterdir())


def test_a_folder_that_was_removed_is_not_made_again(tmp_path: Path) -> None:
    """It would hold the end of a run without its beginning, and the command would say that all is done."""
    run = tmp_path / "run"
    new = LocalStorage(run)
    new.write("run.toml", b"x")
    opened = LocalStorage(run)
    shutil.rmtree(run)
    for storage in (new, opened):
        with pytest.raises(StoreError, match="was removed or moved"):
            storage.write("findings/0", b"x")
    assert not run.exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no O_NOFOLLOW")
def test_a_lock_that_is_a_link_is_neither_taken_nor_written_nor_read(tmp_path: Path) -> None:
    """A launcher writes who it is into its lock."""
    (tmp_path / "mine").write_text("something of mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "mine")
    os.mkfifo(tmp_path / "run" / ".lock-1-of-2")
    storage = LocalStorage(tmp_path / "run")
    with pytest.raises(RunError, match=r"\.lock is a link: remove it"), storage.lock():
        pass
    assert storage.holders() == []
    assert (tmp_path / "mine").read_text() == "something of mine"
    (tmp_path / "run" / "partial").symlink_to(tmp_path)
    with pytest.raises(StoreError, match="is a link"):
        storage.append("partial/shard-1.000000.journal")
