"""Damaged and forged folders of runs and indexes: each command answers, or refuses them with a message, and stays inside.

An input is one line of JSON, {"command": NAME, "files": [[path, how, size], ...]}, and the content of the files that are
replaced, one after the other. ``how`` is "bytes", or what stands in the place of the file.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fuzz.damage import damage
from fuzz.run_files import OUTSIDE, SECRET, change_file, make_base, read_base, sign_again
from fuzz.said import Said, run_command
from fuzz.target import Wrong, corpus
from memcore.audit import audit
from memcore.errors import MemcoreError
from tests.support.report_page import Page, assert_inert
from tests.support.run_files import content
from tests.support.stored_runs import CONFIG
from tests.support.synthetic import PROMPTS, SyntheticSampler

#: What may stand in the place of a file, besides other bytes.
_INSTEAD = ("missing", "folder", "link", "loop", "pipe", "linked-folder")


class Command(NamedTuple):
    """A command and the folders that it is given, of which a file is damaged."""

    words: tuple[str, ...]
    folders: tuple[str, ...]


_RUN = ("finished",)
COMMANDS: dict[str, Command] = {
    "report": Command(("report", "finished"), _RUN),
    "report of two": Command(("report", "finished", "--compare", "old"), ("finished", "old")),
    "report of format 2": Command(("report", "old"), ("old",)),
    "report of format 1": Command(("report", "older"), ("older",)),
    "report of a stopped one": Command(("report", "stopped"), ("stopped",)),
    "status": Command(("status", "finished"), _RUN),
    "status of a stopped one": Command(("status", "stopped", "--json"), ("stopped",)),
    "status with inputs": Command(
        ("status", "finished", "--training", "train.npy", "--index", "index", "--truth", "truth.json"),
        ("finished", "index", "truth.json"),
    ),
    "show": Command(("show", "finished"), _RUN),
    "show matches": Command(("show", "finished", "matches"), _RUN),
    "show quarantine": Command(("show", "finished", "quarantine", "--format", "csv"), _RUN),
    "show failures": Command(("show", "finished", "failures", "--format", "json"), _RUN),
    "match": Command(("match", "finished", "--training", "train.npy", "--threads", "1"), _RUN),
    "match with an index": Command(
        ("match", "finished", "--index", "index", "--threads", "1"), ("finished", "index", "index")
    ),
    "match with an old index": Command(
        ("match", "old", "--index", "old-index", "--threads", "1"), ("old", "old-index", "old-index")
    ),
    "evaluate": Command(("evaluate", "finished", "--truth", "truth.json"), ("finished", "truth.json")),
    "evaluate against people": Command(("evaluate", "finished", "--against", "annotations"), _RUN),
    "evaluate against matches": Command(("evaluate", "finished", "--against", "matches"), _RUN),
    "agreement": Command(("annotate", "finished", "--agreement"), _RUN),
    "verify": Command(("index", "index", "--verify"), ("index",)),
    "index again": Command(
        ("index", "index", "--source", "images", "--quiet", "--shard-images", "5", "--threads", "1"),
        ("index",),
    ),
    "prompts": Command(("prompts", "list.parquet", "--index", "index", "--threads", "1"), ("index",)),
    "resume": Command((), ("stopped",)),
    "retry": Command((), ("finished",)),
}
_AUDITS = ("resume", "retry")


class Runs:
    """Every command that reads a folder which somebody else may have made."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._base = folder / "base"
        os.environ["MEMCORE_FUZZ_SECRET"] = SECRET
        with contextlib.chdir(folder), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            make_base(self._base)
        self._files = read_base(self._base)
        self._stored = corpus("runs")
        self._finished = _findings(self._base / "finished")

    def make(self, rng: np.random.Generator) -> bytes:
        if self._stored and rng.random() < 0.1:
            return damage(self._stored[int(rng.integers(0, len(self._stored)))], rng)
        name = list(COMMANDS)[int(rng.integers(0, len(COMMANDS)))]
        folder = COMMANDS[name].folders[int(rng.integers(0, len(COMMANDS[name].folders)))]
        paths = [path for path in self._files if path == folder or path.startswith(f"{folder}/")]
        kinds: dict[str, list[str]] = {}
        for path in paths:  # as many cases for the one match.json as for all images
            kinds.setdefault(str(Path(path).parent) if "/images/" not in path else "images", []).append(path)
        pool = list(kinds.values())[int(rng.integers(0, len(kinds)))]
        path = pool[int(rng.integers(0, len(pool)))]
        if rng.random() < 0.08:
            how = _INSTEAD[int(rng.integers(0, len(_INSTEAD)))]
            return _input(name, [(path, how, b"")])
        changed = {path: change_file(path, self._files[path], rng)}
        if rng.random() < 0.7:
            sign_again(self._files, changed, path)
        return _input(name, [(path, "bytes", data) for path, data in changed.items()])

    def check(self, data: bytes) -> str:
        try:
            line, _, rest = data.partition(b"\n")
            told = json.loads(line)
            name, files = (
                str(told["command"]),
                [(str(p), str(how), int(size)) for p, how, size in told["files"]],
            )
            command = COMMANDS[name]
        except (ValueError, KeyError, TypeError, RecursionError):
            return "no case"
        case = self._folder / "case"
        shutil.rmtree(case, ignore_errors=True)
        case.mkdir()
        for folder in {*command.folders, *command.words} & {path.name for path in self._base.iterdir()}:
            source = self._base / folder
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, case / folder)
        shutil.copytree(self._base / OUTSIDE, case / OUTSIDE)
        for path, how, size in files:
            if path not in self._files or not (case / path).exists():
                return "no case"
            put(case, path, how, rest[:size])
            rest = rest[max(size, 0) :]
        before = _content(case / OUTSIDE)
        with contextlib.chdir(case), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome = self._audit(name, files) if name in _AUDITS else _command(command)
        if _content(case / OUTSIDE) != before:
            raise Wrong("a file outside of the folder was changed")
        return outcome

    def _audit(self, name: str, files: list[tuple[str, str, int]]) -> str:
        """Resume a run; what it finds must be what the undamaged one found, unless its files were forged."""
        try:
            folder = audit(
                Path("stopped" if name == "resume" else "finished"),
                CONFIG,
                sampler=SyntheticSampler(fail="rain"),
                prompts=PROMPTS,
                quiet=True,
                retry_failed=name == "retry",
            )
        except (MemcoreError, OSError) as error:
            if not str(error):
                raise Wrong("a refusal without a word") from error
            return "refused"
        (path, how, _), *more = files
        forged = more or path.endswith(("run.toml", ".checkpoint", ".json"))
        if name == "resume" and how == "bytes" and not forged:
            found, wanted = dict(_findings(folder.path)), dict(self._finished)
            for kept in (found, wanted):  # the file itself stays as it is: whoever reads it refuses it
                kept.pop(path.partition("/")[2], None)
            if found != wanted:
                raise Wrong(f"a damaged {path} makes other findings")
        return "resumed"


def _command(command: Command) -> str:
    said = run_command(*command.words)
    page = Path(command.words[1]) / "report" / "index.html"
    text = page.read_text("utf-8") if command.words[0] == "report" and said.code in (0, 5) else ""
    if text:
        assert_inert(Page(text))
    for shown in (said.out, said.err, text):
        if SECRET in shown:
            raise Wrong("what is outside of the folder, or in the environment, is shown")
    return _outcome(said)


def _outcome(said: Said) -> str:
    return {0: "answered", 5: "answered, incomplete"}.get(said.code, "refused")


def _input(name: str, files: list[tuple[str, str, bytes]]) -> bytes:
    told: dict[str, Any] = {"command": name, "files": [[path, how, len(data)] for path, how, data in files]}
    return json.dumps(told).encode() + b"\n" + b"".join(data for _, _, data in files)


def put(case: Path, path: str, how: str, data: bytes) -> None:
    """Put something in the place of a file."""
    at = case / path
    at.unlink()
    if how == "bytes":
        at.write_bytes(data)
    elif how == "folder":
        at.mkdir()
    elif how == "link":
        at.symlink_to(case / OUTSIDE / "secret.txt")
    elif how == "loop":
        at.symlink_to(at)
    elif how == "pipe":
        os.mkfifo(at)
    elif how == "linked-folder" and at.parent.parent != case:  # the run's own folder may be a link
        away = case / OUTSIDE / "folder"
        shutil.rmtree(away, ignore_errors=True)
        at.parent.rename(away)
        at.parent.symlink_to(away)


def _content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _findings(run: Path) -> dict[str, str]:
    return {name: digest for name, digest in content(run).items() if not name.startswith("quarantine/")}
