"""A program ends as it would without the daemon threads that compute: the same exit code and output, and no abort."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import proofs
from tests.support.ending_program import ENDINGS

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and signals")

ROOT = Path(__file__).parents[2]
EXITS = proofs.shares(proofs.times("EXITS", len(ENDINGS)), list(ENDINGS))
GIVEN_UP_S = 60
ENVIRONMENT = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def end(name: str, threads: int) -> tuple[int, str, str]:
    """Run the program, and return how it ended."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.ending_program", name, str(threads)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=GIVEN_UP_S,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", ENDINGS)
def test_it_ends_as_without_daemon_threads(name: str) -> None:
    with ThreadPoolExecutor(3) as pool:
        without = pool.submit(end, name, 0)
        with_threads = list(pool.map(end, [name] * EXITS[name], [4] * EXITS[name]))
    expected = without.result()
    assert expected[1], "it says something"
    others = [ended for ended in with_threads if ended != expected]
    proofs.record("exits", name, runs=len(with_threads), exit_code=expected[0], others=len(others))
    assert not others, expected
