"""Ray and a SLURM array give the tables of a study on one machine, byte for byte."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from memcore.cli import main
from tests.support.slurm_cluster import output, wait_for
from tests.support.study_sets import write_tiny

ROOT = Path(__file__).parents[2]
STUDY = """
name = "two"
about = "two models"
[data.images]
kind = "stored"
path = "{path}"
side = 8
grey = true
block = 0
[extraction]
samples = 64
steps = 2
[[groups]]
name = "sets"
findings = ["b"]
fixed = {{ steps = 2, width = 8, batch = 4 }}
grid = {{ n = [8, 12] }}
"""


def study_content(study: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((study / "rows").iterdir())}


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a protocol, and a study of it that was run on this machine."""
    folder = tmp_path_factory.mktemp("studied")
    protocol = write_tiny(folder, STUDY)
    assert main(["study", "run", str(protocol), str(folder / "local"), "--workers", "1", "--quiet"]) == 0
    assert len(study_content(folder / "local")) >= 8
    return protocol


def test_a_study_by_ray(studied: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    study = tmp_path / "study"
    more = ["--launcher", "ray", "--workers", "2", "--quiet"]
    assert main(["study", "run", str(studied), str(study), *more]) == 0
    assert study_content(study) == study_content(studied.parent / "local")
    told = [json.loads(p.read_text())["writer"] for p in study.glob("manifest/*")]
    assert len(told) == 2
    assert f"{socket.gethostname()}:{os.getpid()}" not in told


def test_a_study_by_slurm(
    slurm: None,
    studied: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'kernels'}")
    study = tmp_path / "study"
    more = [
        "--launcher",
        "slurm",
        "--tasks",
        "2",
        "--sbatch=--time=10",
        "--workers",
        "1",
        "--quiet",
        "--json",
    ]
    assert main(["study", "run", str(studied), str(study), *more]) == 0
    told = json.loads(capsys.readouterr().out)
    wait_for(lambda: not output("squeue", "-h", "-j", told["job"]).strip(), "the array's end", 300)
    logs = "\n".join(p.read_text() for p in study.glob("slurm/*.log"))
    assert study_content(study) == study_content(studied.parent / "local"), logs
    assert len(list(study.glob("slurm/*_*.log"))) == 2
