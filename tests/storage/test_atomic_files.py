"""Temporary files: whose writer is gone they go, and no others."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memcore.system import atomic_files
from memcore.system.atomic_files import TEMPORARY, remove_temporary

pytestmark = pytest.mark.skipif(
    os.name == "nt", reason="processes are asked for by signal 0, which Windows lacks"
)


def leave(folder: Path, writer: str) -> Path:
    path = folder / "images" / f"{TEMPORARY}{writer}-1-7.png"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"half")
    return path


def test_of_this_machine_the_process_is_asked(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as writer:
        path = leave(tmp_path, f"{atomic_files._HOST}-{writer.pid}")
        assert remove_temporary(tmp_path) == 0
        assert path.exists()
        writer.kill()
        deadline = time.monotonic() + 30
        while remove_temporary(tmp_path) == 0:  # it has ended, though nobody has asked after it
            assert time.monotonic() < deadline
        assert writer.returncode is None
    assert not path.exists()
    assert remove_temporary(tmp_path) == 0


def test_of_this_process_nothing_is_left_to_finish(tmp_path: Path) -> None:
    """Its number was another process's, before this machine or container was started again."""
    leave(tmp_path, f"{atomic_files._HOST}-{os.getpid()}")
    assert remove_temporary(tmp_path) == 1


@pytest.mark.parametrize("writer", ["elsewhere-7", "elsewhere-x", "nonsense"])
def test_of_another_machine_a_day_decides(tmp_path: Path, writer: str) -> None:
    path = leave(tmp_path, writer)
    assert remove_temporary(tmp_path) == 0
    old = time.time() - atomic_files.ABANDONED_SECONDS - 60
    os.utime(path, (old, old))
    assert remove_temporary(tmp_path) == 1
