"""Wrong arguments of an index, from Python and on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memcore.cli import main
from memcore.errors import MemcoreError
from memcore.index import Index, build_index, nearest, open_source
from tests.support.index_sets import pictures


@pytest.mark.parametrize("threads", [-1, 0, 10**30, "two", True])
def test_wrong_threads(tmp_path: Path, threads: Any) -> None:
    """Refused before anything is written."""
    images = pictures(20)
    np.save(tmp_path / "train.npy", images)
    source = open_source(tmp_path / "train.npy")
    with pytest.raises(MemcoreError, match="threads"):
        build_index(tmp_path / "index", source, threads=threads)
    assert not (tmp_path / "index").exists()
    build_index(tmp_path / "whole", source)
    with pytest.raises(MemcoreError, match="threads"):
        nearest(Index.open(tmp_path / "whole"), images, 1, threads=threads)


@pytest.mark.parametrize("threads", ["-1", "0", "99999999999999999999"])
def test_wrong_threads_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], threads: str
) -> None:
    np.save(tmp_path / "train.npy", pictures(20))
    words = ["index", str(tmp_path / "index"), "--source", str(tmp_path / "train.npy")]
    assert main([*words, f"--threads={threads}"]) == 2
    assert "threads must be" in capsys.readouterr().err
    assert not (tmp_path / "index").exists()
    assert main([*words, "--threads=2", "--quiet"]) == 0
