"""A real Chromium for the page, and the command that serves it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
#: No GPU, nothing of the browser's own traffic; the sandbox needs rights that a container does not have.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

#: Findings of the annotated run, more than a page shows at once.
FINDINGS = 60


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Start a browser; skip the test, and say so, where there is none."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: memcore-audit[dev]"
    )
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Server:
    """Run ``memcore annotate`` in a process of its own."""

    def __init__(self, run: Path, *, port: int = 0, top: int = 1000) -> None:
        self.run = run
        command = [sys.executable, "-m", "memcore.cli", "annotate", str(run), "--json"]
        self._process = subprocess.Popen(
            [*command, "--port", str(port), "--top", str(top)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ},
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the server did not start"
        self.links: dict[int, str] = {int(k): v for k, v in json.loads(line)["links"].items()}
        self.origin = self.links[1].partition("/enter")[0]
        self.port = int(self.origin.rpartition(":")[2])

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def interrupt(self) -> int:
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(timeout=20)


@contextlib.contextmanager
def serving(run: Path, **options: int) -> Iterator[Server]:
    server = Server(run, **options)
    try:
        yield server
    finally:
        server.kill()
