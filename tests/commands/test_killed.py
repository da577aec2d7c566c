"""SIGKILL of every command that writes, at random moments: given again, it leaves the same bytes as an undisturbed one.

``tests/engine/test_kill.py`` kills the workers of audits as well, ``tests/storage`` cuts the power at every write.
"""

from __future__ import annotations

import http.client
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from memcore.runs.annotations import FILE, Annotations
from memcore.system.atomic_files import _HOST, TEMPORARY
from tests.support import proofs
from tests.support.annotators import Client
from tests.support.browser import Server, serving
from tests.support.command_line import memcore
from tests.support.forked_commands import ForkedCommands
from tests.support.workshop import OUTPUTS, Workshop

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

#: Kills of each command, and of the annotators' server.
KILLS = proofs.shares(proofs.times("KILLS", 20), [*OUTPUTS, "annotate"])
#: Kills of a command before it is let run to its end.
IN_A_ROW = 3
#: A quarter of the kills come when the command has usually ended: some of these it is late enough for.
LATEST = 1.1


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("killed") / "workshop")


@pytest.fixture(scope="module")
def forked() -> Iterator[ForkedCommands]:
    with ForkedCommands() as started:
        yield started


@pytest.mark.parametrize("command", OUTPUTS)
def test_a_killed_command_is_resumed_to_the_same_bytes(
    command: str, workshop: Workshop, forked: ForkedCommands
) -> None:
    rng = random.Random(command)
    words = workshop.words(command)
    workshop.reset(command)
    forked.start(words)
    code, seconds = forked.wait()
    assert code in (0, 5), "undisturbed"
    whole = workshop.written(command)
    assert whole
    killed = tries = 0
    while killed < KILLS[command]:
        workshop.reset(command)
        for _ in range(min(IN_A_ROW, KILLS[command] - killed)):
            forked.start(words)
            time.sleep(rng.uniform(0, LATEST * seconds))
            forked.kill()
            killed += forked.wait()[0] == -signal.SIGKILL
            tries += 1
        forked.start(words)
        assert forked.wait()[0] == code
        assert workshop.written(command) == whole, f"after {killed} kills"
        assert tries < 10 * KILLS[command] + 20, "it is hardly ever killed in time"
    proofs.record("kills", command, kills=killed, files=len(whole), seconds=round(seconds, 2))


@pytest.mark.parametrize(
    ("command", "left"),
    [
        ("match", "run/matches.parquet"),
        ("match --index", "run/match.json"),
        ("prompts", "prompts.parquet"),
        ("evaluate", "matched/evaluation.json"),
        ("report", "matched/report/index.html"),
        ("report", "matched/report/report.json"),
        ("index", "index/index.json"),
    ],
)
def test_what_a_killed_writer_left_is_removed(command: str, left: str, workshop: Workshop) -> None:
    workshop.reset(command)
    path = workshop.folder / left
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f"{TEMPORARY}{_HOST}-{ended.pid}-1-{path.name}")
    half.write_bytes(b"half")
    assert memcore(*workshop.words(command)).code in (0, 5)
    assert path.exists(), "the name is that of a file which the command writes"
    assert not half.exists()


def events(run: Path) -> list[tuple[str, int, int, str]]:
    """Return what the file of annotations holds, but for the times and the chain over them."""
    with sqlite3.connect(run / FILE) as file:
        return file.execute("SELECT key, annotator, item, label FROM events ORDER BY id").fetchall()


def test_a_killed_server_has_all_that_it_acknowledged(workshop: Workshop) -> None:
    """Sent again from the last acknowledged one on, the events are those of an undisturbed server."""
    pytest.importorskip("fastapi", reason="fastapi is not installed: memcore-audit[annotate]")
    rng = random.Random(7)
    workshop.reset("report")
    run = workshop.output("report")
    sent = [(f"k{n}", 1, n % 2, ("copy", "no", "unsure")[n % 3]) for n in range(10 * KILLS["annotate"])]
    first = killed = 0
    while killed < KILLS["annotate"]:
        with serving(run) as server:
            first = post(server, sent, first, killed, rng)
        killed += 1
        done = events(run)
        assert done[:first] == sent[:first]
        assert len(done) <= first + 1, "at most the one that was not acknowledged"
    with serving(run) as server:
        post(server, sent, first, None, rng)
    assert events(run) == sent
    with Annotations.open(run) as opened:  # its chain of digests is whole
        assert len(opened.head) == 64
    proofs.record("kills", "annotate", kills=killed, events=len(sent))


def post(
    server: Server, sent: list[tuple[str, int, int, str]], first: int, kill: int | None, rng: random.Random
) -> int:
    """Post events from ``first`` on; kill the server within some later one; return how many were acknowledged."""
    client = Client(server, 1)
    last = None if kill is None else first + rng.randrange(8)
    for n, (key, _, item, label) in enumerate(sent[first:], first):
        if n == last:
            timer = threading.Timer(rng.uniform(0, 0.006), server.kill)
            timer.start()
        try:
            status = client.post({"key": key, "item": item, "label": label})[0]
        except (OSError, http.client.HTTPException):
            return n
        assert status == 200
    return len(sent)
