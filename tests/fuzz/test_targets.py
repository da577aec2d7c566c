"""Targets for OSS-Fuzz: one for each fuzzer, which runs without atheris too, and a build that names what exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.target import CORPUS, TARGETS

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted((ROOT / "fuzz" / "oss").glob("fuzz_*.py"))


def test_every_fuzzer_has_a_target() -> None:
    assert {path.stem.removeprefix("fuzz_") for path in PROGRAMS} == set(TARGETS)


@pytest.mark.parametrize("name", ["images", "capi"])
def test_it_checks_files(name: str) -> None:
    given = CORPUS / name
    done = subprocess.run(
        [sys.executable, str(ROOT / "fuzz" / "oss" / f"fuzz_{name}.py"), str(given), "-runs=1"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
    )
    assert done.returncode == 0, done.stderr
    if "atheris" in done.stdout:
        assert f"{len(list(given.iterdir()))} inputs were checked" in done.stdout


def test_the_build_names_what_is_there() -> None:
    build = (ROOT / ".clusterfuzzlite" / "build.sh").read_text("utf-8")
    for name in re.findall(r"[\w/]+\.sh(?= )|--add-data ([\w/]+):", build):
        assert not name or (ROOT / name).exists(), name
    assert subprocess.run(["bash", "-n", str(ROOT / ".clusterfuzzlite" / "build.sh")]).returncode == 0
    assert (ROOT / "csrc" / "tests" / "run.sh").read_text("utf-8").count("fuzzers)") == 2
    workflow = (ROOT / ".github" / "workflows" / "fuzz.yml").read_text("utf-8")
    docker = (ROOT / ".clusterfuzzlite" / "Dockerfile").read_text("utf-8").splitlines()
    assert "s|^ARG BASE$|" in workflow
    assert docker.count("ARG BASE") == 1
