"""What comes from outside is shown on a console and never obeyed by it."""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memcore.cli import main
from memcore.system.console import printable, write

DATA = Path(__file__).parents[1] / "data" / "format-3"
ATTACK = "\x1b[2J\x1b]0;title\x07\x9b31m\u202egnp.exe\r\x7f"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_only_what_a_terminal_would_obey_is_escaped() -> None:
    kept = "狐 é 🦊 ‘quoted’\ta\nb \\x1b"
    assert printable(kept) == kept
    assert printable("a\x1b[2Jb\r\x9b\u202e\ud800") == r"a\x1b[2Jb\r\x9b\u202e\ud800"


def test_data_is_exact_where_no_terminal_shows_it() -> None:
    pipe, terminal = io.StringIO(), Terminal()
    for stream in (pipe, terminal):
        write(ATTACK, stream=stream, exact=True)
    assert pipe.getvalue() == f"{ATTACK}\n"
    assert "\x1b" not in terminal.getvalue()


def attacks(folder: Path) -> list[list[str]]:
    """Commands whose messages repeat names from files and from the command."""
    pq.write_table(pa.table({ATTACK: ["x"]}), folder / "columns.parquet")
    (folder / "run").mkdir()
    spelled = "".join(f"\\u{ord(sign):04x}" for sign in ATTACK)
    (folder / "run" / "run.toml").write_text(f'[run]\nformat = "{spelled}"\n')
    (folder / "index").mkdir()
    (folder / "index" / "index.json").write_text('{"format": "\\u001b[2J"}')
    np.save(folder / "images.npy", np.zeros((1, 1, 8, 8, 3), np.uint8))
    (folder / f"{ATTACK}.tar").write_bytes(b"no archive")
    sampler = ["--sampler", f"no.such:{ATTACK}", "--prompts", str(folder / "columns.parquet")]
    return [
        [
            "audit",
            str(folder / "a"),
            "--prompts",
            str(folder / "columns.parquet"),
            "--model",
            "m",
            "--steps",
            "1",
        ],
        ["audit", str(folder / "b"), *sampler],
        ["index", str(folder / "c"), "--source", str(folder / "columns.parquet")],
        ["index", str(folder / "d"), "--source", str(folder / f"{ATTACK}.tar")],
        ["filter", str(folder / "e"), "--images", str(folder / f"{ATTACK}.tar"), "--quiet", "--workers", "1"],
        ["index", str(folder / "index"), "--verify"],
        ["status", str(folder / "run")],
        ["report", str(folder / "run")],
        ["match", str(folder / "run"), "--training", str(folder / ATTACK)],
        ["show", str(folder / ATTACK)],
        ["status", "--no-such", ATTACK],
        [ATTACK],
        [f"--{ATTACK}"],
        ["audit", str(folder / "f"), "--config", str(folder / f"{ATTACK}.toml")],
        ["prompts", str(folder / ATTACK / "x.parquet"), "--index", str(folder / "index"), "--trust-paths"],
    ]


@pytest.mark.parametrize("number", range(15))
def test_no_command_lets_a_terminal_obey(number: int, tmp_path: Path) -> None:
    words = attacks(tmp_path)[number]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        assert main(words) != 0
    said = out.getvalue() + err.getvalue()
    assert said
    for sign in "\x1b\x07\x9b\u202e\r\x7f":
        assert sign not in said, said


def test_a_warning_of_memcore_is_a_line(tmp_path: Path) -> None:
    """And nothing in it is obeyed. Those of others are as Python shows them."""
    shutil.copytree(DATA / "stopped", tmp_path / "run")
    (path,) = (tmp_path / "run" / "partial").iterdir()
    path.write_bytes(path.read_bytes() + b"x")
    code = "import sys, warnings; from memcore.cli import program; code = program(); warnings.warn('mine'); sys.exit(code)"
    done = subprocess.run(
        [sys.executable, "-c", code, "status", tmp_path / "run"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said, *others = done.stderr.splitlines()
    assert said.startswith(f"memcore: {path} is damaged: ")
    assert said.endswith("it is not used, and the prompts of its shard are done again")
    assert "UserWarning: mine" in "".join(others)
