"""Commands of the documentation, run as they are written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_shell(block: str, folder: Path) -> None:
    """Run a block of a page in a folder, where ``memcore`` is this one."""
    tools = folder / "tools"
    if (
        not tools.exists()
    ):  # once: what an earlier block left running may be about to be executed, and is not writable then
        tools.mkdir()
        (tools / "memcore").write_text(f'#!/bin/sh\nexec {sys.executable} -m memcore.cli "$@"\n')
        (tools / "memcore").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
