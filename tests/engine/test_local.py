"""A worker process that is told to stop goes without a word, whenever that comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

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
