"""An audit of a hosted model, killed while it receives: nothing received is asked for again, and nothing of it is lost.

``MEMCORE_KILLS=20`` kills as often as the proof demands (``make proof-received``).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("httpx")

from memcore.runs.folder import RunFolder
from memcore.runs.received import read_spent
from tests.support.hosted_server import TOKEN, HostedServer, options
from tests.support.synthetic import PROMPTS

KILLS = int(os.environ.get("MEMCORE_KILLS", "3"))
GENERATIONS = 60 * KILLS
Key = tuple[str, int]


def start(run: Path, server: HostedServer) -> subprocess.Popen[str]:
    prompts = run.parent / "prompts.txt"
    prompts.write_text("".join(f"{p}\n" for p in PROMPTS[:4]))
    made = json.dumps({**options(server), "token": "env:HOSTED_TOKEN"})
    command = [sys.executable, "-m", "memcore.cli", "audit", str(run), "--prompts", str(prompts), "--quiet"]
    command += [
        "--sampler",
        "http",
        "--sampler-options",
        made,
        "--price-per-image",
        "0.02",
        "--max-cost",
        "1000",
    ]
    command += [
        "--generations",
        str(GENERATIONS),
        "--batch-size",
        "32",
        "--min-clique",
        "3",
        "--shard-prompts",
        "2",
    ]
    return subprocess.Popen(
        [*command, "--json"],
        env={**os.environ, "HOSTED_TOKEN": TOKEN},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def received(run: Path) -> set[Key]:
    """Return the images whose answers are in the run's folder."""
    folder = RunFolder.open(run)
    keys: set[Key] = set()
    for shard in folder.shards():
        for record in folder.received(shard).records:
            for image in record.head.get("images", []) if "answered" in record.head else []:
                keys.add((folder.prompts[image["prompt_id"]], image["seed"]))
    return keys


def wait_for_images(server: HostedServer, more: int, process: subprocess.Popen[str]) -> None:
    """Wait until the server has answered ``more`` images, and a moment that is drawn."""
    enough = server.images + more
    while server.images < enough and process.poll() is None:
        time.sleep(0.002)
    time.sleep(random.random() * 0.03)


def test_killed_while_it_receives(tmp_path: Path) -> None:
    run = tmp_path / "run"
    kept: list[set[Key]] = []
    asked: list[Counter[tuple[str, int | None]]] = []
    with HostedServer() as server:
        for _ in range(KILLS):
            process = start(run, server)
            wait_for_images(server, 20 + random.randrange(40), process)
            assert process.poll() is None, "it was not killed in the middle"
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kept.append(received(run))
            asked.append(server.asked.copy())
        process = start(run, server)
        out, err = process.communicate(timeout=300)
        assert process.returncode in (0, 5), err
    for before, asked_before in zip(kept, asked, strict=True):
        assert before
        again = [key for key in before if server.asked[key] != asked_before[key]]
        assert not again, f"{len(again)} images were asked for that had been received"
    told = json.loads(out)
    assert told["generated"] == 4 * GENERATIONS
    assert received(run) == {key for key, count in server.sent.items() if count}, "something is lost"
    spent = read_spent(RunFolder.open(run))
    assert spent is not None
    assert spent.images == 4 * GENERATIONS
    # what was noted and not yet sent counts as well; no more was under way than the concurrency
    assert server.asked.total() - spent.images <= spent.unanswered <= 4 * KILLS
    for file in run.rglob("*"):
        assert file.is_dir() or TOKEN.encode() not in file.read_bytes(), file
    assert TOKEN not in out + err
