"""The Triton kernels without a GPU: under the interpreter, compiled ahead of time, and their wrong calls."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

ROOT = Path(__file__).parent.parent


def run_python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A fresh process in the repository, so that TRITON_INTERPRET is as wanted before triton is imported."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("TRITON_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_under_the_interpreter() -> None:
    done = run_python(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/gpu_interp", TRITON_INTERPRET="1"
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
