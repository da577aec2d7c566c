"""``memcore status`` of a run that is at work, was killed, or is inside its first prompt (N-X20)."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from memcore.cli import main as memcore
from memcore.engine import presence
from memcore.engine.presence import read_presence
from memcore.runs.folder import RunFolder
from memcore.runs.status import status, status_lines
from memcore.storage.local import LocalStorage
from tests.support.run_files import run
from tests.support.synthetic import SyntheticSampler

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no flock")


class Pausing(SyntheticSampler):
    """Waits for ever before its 4th call, and says so by a file."""

    def sample(self, requests: Any) -> Any:
        if len(self.batches) == 3:
            Path(os.environ["PAUSED"]).touch()
            time.sleep(600)
        time.sleep(0.3)  # a report of progress comes twice a second
        return super().sample(requests)


def test_inside_the_first_prompt_and_after_a_kill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It said 0 images after 100 s of the first prompt, and "30 s left" of a run that nobody worked on."""
    (tmp_path / "prompts.txt").write_text("a red fox\na door\n")
    place, paused = str(tmp_path / "run"), tmp_path / "paused"
    command = [
        sys.executable,
        "-m",
        "memcore.cli",
        "audit",
        place,
        "--prompts",
        str(tmp_path / "prompts.txt"),
    ]
    command += ["--sampler", "tests.runs.test_status:Pausing", "--generations", "500", "--batch-size", "8"]
    command += ["--workers", "1", "--quiet"]
    process = subprocess.Popen(command, env={**os.environ, "PAUSED": str(paused)})
    try:
        deadline = time.monotonic() + 60
        told: dict[str, Any] = {}
        while time.monotonic() < deadline and process.poll() is None:
            if paused.exists() and (told := status(RunFolder.open(place)))["in_flight"]["images"]:
                break
            time.sleep(0.02)
        images = told["in_flight"]["images"]
        assert (told["working"], told["generated"], images in (8, 16)) == (True, 0, True)
        assert [who["process"] for who in told["at_work"]] == [process.pid]
        assert memcore(["status", place]) == 0
        said = capsys.readouterr().out
        assert f"0 of 2 prompts (0.0 %), 0 of 2 shards, {images} images" in said
        assert f"at work: process {process.pid} on {socket.gethostname()}, for " in said
        assert "its last image was made " in said
        assert memcore(["status", place, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["at_work"][0]["alive"] is True
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert memcore(["status", place]) == 0
    said = capsys.readouterr().out
    assert f"nobody is at work on it: process {process.pid} on {socket.gethostname()} wrote last, " in said
    assert " left" not in said


def test_a_run_that_nobody_works_on_has_no_time_left(tmp_path: Path) -> None:
    half = run(tmp_path / "run", part=(1, 2))
    told = status(half)
    assert (told["complete"], told["working"], told["seconds_left"]) == (False, False, None)
    assert told["images_a_second"] > 0
    lines = status_lines(told)
    assert any(line.startswith("nobody is at work on it: process") for line in lines)
    assert not any(" left" in line for line in lines)
    with half.storage.lock() as lock:
        presence.Presence(lock)
        told = status(half)
    assert told["seconds_left"] > 0
    assert any(line.endswith("left at that rate") for line in status_lines(told))


def test_parts_at_work_side_by_side(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "run")
    with storage.lock((1, 2)) as first, storage.lock((2, 2)) as second:
        presence.Presence(first).update({"shard-a": 3}, 3)
        presence.Presence(second)
        assert [p.alive for p in read_presence(storage)] == [True, True]
    assert [p.alive for p in read_presence(storage)] == [False, False]


def test_another_machine_is_believed_for_two_minutes(tmp_path: Path) -> None:
    """Its lock cannot be seen on every shared file system."""
    storage = LocalStorage(tmp_path / "run")
    now = time.time()
    note = {"host": "elsewhere", "process": 7, "started": now - 500, "written": now - 60, "moved": now - 400}
    with storage.lock() as lock:
        lock.note(json.dumps({**note, "done": 12, "tasks": {"shard-a": 12}}).encode())
    (there,) = read_presence(storage)
    assert (there.alive, there.host, there.tasks) == (True, "elsewhere", {"shard-a": 12})
    (gone,) = read_presence(storage, now + 600)
    assert not gone.alive


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"host": 1}', b"\xff" * 40, b"null"])
def test_a_note_that_is_being_written_says_nothing(tmp_path: Path, note: bytes) -> None:
    storage = LocalStorage(tmp_path / "run")
    with storage.lock() as lock:
        lock.note(b'{"a longer note": "than the one that follows it, of which nothing may stay"}')
        lock.note(note)
        assert (tmp_path / "run" / ".lock").read_bytes() == note
        assert read_presence(storage) == []


def test_asking_does_not_keep_a_launcher_out(tmp_path: Path) -> None:
    """Whoever asks holds the lock for a moment: a launcher that comes then tries again."""
    import fcntl
    import threading

    storage = LocalStorage(tmp_path / "run")
    with storage.lock() as lock:
        presence.Presence(lock)
    with (tmp_path / "run" / ".lock").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        threading.Timer(0.03, lambda: fcntl.flock(file, fcntl.LOCK_UN)).start()
        with storage.lock():
            assert True
