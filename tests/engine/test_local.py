"""A worker process that is told to stop goes without a word, whenever that comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows ends a process without telling it")

WORKER = """
import os, signal
from memcore.engine.launchers import local
from memcore.audit.task import AuditWork
from memcore.runs.config import Config

class Connection:
    def send(self, event):
        print(event[0], flush=True)

    def recv(self):
        if {when!r} == "idle":
            signal.raise_signal(signal.SIGTERM)
        return None

if {when!r} == "early":
    local._leave_with = lambda launcher: signal.raise_signal(signal.SIGTERM)
work = AuditWork(Config(source="custom", sampler="tests.support.synthetic:SyntheticSampler"))
local._work(Connection(), work, 1, os.getppid())
signal.raise_signal(signal.SIGTERM)
"""


@pytest.mark.parametrize(("when", "said"), [("early", ""), ("idle", "ready\n"), ("late", "ready\n")])
def test_told_to_stop(when: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORKER.format(when=when)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, said, "")


PROGRAM = """
from pathlib import Path
from memcore.audit import audit
from memcore.runs.config import Config

def go():
    config = Config(source="custom", sampler="memcore.study.synthetic:SyntheticSampler", generations=12)
    run = audit(Path("run"), config, prompts=["plain"], workers=1, threads=1, quiet=True)
    print([row["status"] for row in run.findings()])
"""


@pytest.mark.parametrize(
    ("call", "stdin", "said"),
    [
        ("go()", False, 'make it under if __name__ == "__main__":'),
        ("go()", True, "workers are processes that import the program, and cannot import"),
        ('if __name__ == "__main__": go()', False, None),
    ],
)
def test_a_program_that_its_workers_start_again_is_told(
    call: str, stdin: bool, said: str | None, tmp_path: Path
) -> None:
    """Its traceback is one, of the launcher; a worker that would start workers says nothing of its own."""
    (tmp_path / "program.py").write_text(f"{PROGRAM}\n{call}\n")
    words = ["-"] if stdin else ["program.py"]
    done = subprocess.run(
        [sys.executable, *words],
        cwd=tmp_path,
        input=f"{PROGRAM}\n{call}\n" if stdin else None,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stderr.count("Traceback") == (said is not None)
    if said is None:
        assert (done.returncode, done.stdout) == (0, "['none']\n"), done.stderr
    else:
        assert done.returncode == 1
        assert said in done.stderr.strip().splitlines()[-1]
