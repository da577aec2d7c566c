"""Flip single bits of the files of a run and of an index, and read them with everything that memcore has.

As a program (``python -m tests.support.flips FLIPS RESUMES SEED``) it prints, as JSON, how many flips of each kind of file
were noticed or harmless, and every one that was neither.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from memcore.system import atomic_files
from memcore.system.atomic_files import TEMPORARY
from tests.support.faulty_disk import QuickDisk
from tests.support.flip_readers import READERS, Answer, Place, Reader, make_place, normal
from tests.support.opened import opened

#: What is no content of a run or an index, and what SQLite keeps beside a database while it is open.
_PASSING = (".lock", "-wal", "-shm")


class Flip(NamedTuple):
    """One flipped bit: of a file, as its name in the place, and the bit's number in it."""

    name: str
    bit: int

    def __str__(self) -> str:
        return f"{self.name} bit {self.bit}"


class Mirror:
    """What lies in a folder, to be put back after each reader.

    A file whose inode, size and times are as they were was not changed: memcore replaces files, and never writes into one.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, tuple[tuple[int, ...], bytes]] = {}
        self.files = self.read()

    def read(self) -> dict[str, bytes]:
        """Return the content of every file, by its name below the root."""
        found: dict[str, bytes] = {}
        self._add(self._root, "", found)
        return found

    def _add(self, folder: Path | str, prefix: str, found: dict[str, bytes]) -> None:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if entry.is_dir(follow_symlinks=False):
                    self._add(entry.path, f"{prefix}{name}/", found)
                    continue
                if name.endswith(_PASSING) or name.startswith(TEMPORARY):
                    continue
                about = os.stat(entry.path)
                state = (about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
                known = self._known.get(entry.path)
                if known is None or known[0] != state:
                    self._known[entry.path] = known = (state, Path(entry.path).read_bytes())
                found[prefix + name] = known[1]

    def write(self, name: str, data: bytes | bytearray) -> None:
        """Write a file so that it is seen to be another one."""
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        self._known.pop(str(path), None)

    def put_back(self) -> None:
        """Remove what is new, and write again what is gone or changed."""
        there = self.read()
        for name in there.keys() - self.files.keys():
            (self._root / name).unlink()
            with contextlib.suppress(OSError):
                (self._root / name).parent.rmdir()
        for name, data in self.files.items():
            if there.get(name) != data:
                self.write(name, data)


class Done(NamedTuple):
    """What a reader answered, and what lay there afterwards."""

    answer: Answer
    after: dict[str, Any]


class Proof:
    """A run, an index and their unfinished twins, and what every reader answers where nothing is damaged."""

    def __init__(self, root: Path) -> None:
        self.place: Place = make_place(root)
        self.mirror = Mirror(root)
        self.sound: dict[str, Done] = {}
        self.readers_of: dict[str, list[str]] = {}
        for name, reader in READERS.items():
            with opened() as seen:
                answer = reader.read(self.place)
            first = self._done(reader, answer)
            self.mirror.put_back()
            if self._done(reader, reader.read(self.place)) != first:
                raise AssertionError(f"{name} answers differently where nothing changed")
            self.mirror.put_back()
            self.sound[name] = first
            for file in {str(Path(path).relative_to(root)) for path in seen if path.startswith(f"{root}/")}:
                self.readers_of.setdefault(file, []).append(name)
        self.kinds: dict[str, list[str]] = {}
        for name in self.mirror.files:
            if kind := kind_of(name):
                self.kinds.setdefault(kind, []).append(name)

    def _done(self, reader: Reader, answer: Answer) -> Done:
        after = {n: normal(n, data) for n, data in self.mirror.read().items() if n not in reader.changing}
        return Done(answer, after)

    def look(self, flip: Flip, only: Sequence[str] = ()) -> tuple[str, list[str]]:
        """Return what became of a flip, and what is wrong with that: all readers of the file look at it in turn."""
        broken = bytearray(self.mirror.files[flip.name])
        broken[flip.bit // 8] ^= 1 << flip.bit % 8
        told, wrong = "harmless", []
        readers = [name for name in self.readers_of.get(flip.name, ()) if not only or name in only]
        for name in readers:
            self.mirror.write(flip.name, broken)
            try:
                done = self._done(READERS[name], READERS[name].read(self.place))
            except Exception:
                wrong.append(f"{flip}: {name}: {traceback.format_exc(limit=-3)}")
            else:
                sound = self.sound[name]
                before = {**self.mirror.files, flip.name: bytes(broken)}
                found, why = judge(flip.name, READERS[name], done, sound, before)
                told = "noticed" if found == "noticed" else told
                if why:
                    wrong.append(f"{flip}: {name}: {why}")
            self.mirror.put_back()
        return told if readers else "unread", wrong


def judge(file: str, reader: Reader, done: Done, sound: Done, before: dict[str, bytes]) -> tuple[str, str]:
    """Return whether a damage of ``file`` was noticed or harmless, and what is wrong with what the reader did."""
    after, wanted = dict(done.after), dict(sound.after)
    same_file = {normal(file, before[file]), wanted.get(file)}
    if after.pop(file, None) not in same_file:
        return "", "the damaged file was changed to something else"
    wanted.pop(file, None)
    if done.answer == sound.answer and after == wanted:
        return "harmless", ""
    said = done.answer.said.replace("\\\\", "\\")
    name = Path(file).name
    if name not in said and name.partition(".")[0].removeprefix("shard-") not in said:
        return "", f"it is not named: {done.answer} instead of {sound.answer}{_difference(after, wanted)}"
    if done.answer.code in (0, 3, 5):
        if done.answer.content != sound.answer.content:
            return "", f"other content: {done.answer} instead of {sound.answer}"
        others = {n: v for n, v in after.items() if not n.startswith(reader.telling)}
        return "noticed", _difference(others, wanted)
    untouched = {n: normal(n, data) for n, data in before.items()}
    new = {n: v for n, v in after.items() if v != untouched.get(n) and v != wanted.get(n)}
    gone = untouched.keys() & wanted.keys() - after.keys() - {file, *reader.removes}
    if new or gone:
        return "", f"it was refused, but changed {sorted(new)} and removed {sorted(gone)}"
    return "noticed", ""


def _difference(after: dict[str, Any], wanted: dict[str, Any]) -> str:
    differ = sorted(n for n in {*after, *wanted} if n in after and after[n] != wanted.get(n))
    return f"; other files: {differ}" if differ else ""


def kind_of(name: str) -> str:
    """Return the kind of a file, which the same code writes; nothing for a file of neither a run nor an index."""
    top, _, rest = name.partition("/")
    if top not in ("run", "index", "stopped", "begun"):
        return ""
    folder, _, file = rest.partition("/")
    if folder.startswith("shard-"):
        return f"{top}/shard/{file}"
    return f"{top}/{folder}" + (f"/*{Path(file).suffix}" if file else "")


def prove(flips: int, resumes: int, seed: int, root: Path) -> dict[str, Any]:
    """Flip ``flips`` bits of all kinds of files alike, and ``resumes`` of what a resumed run reads."""
    draw = random.Random(seed)
    began = time.monotonic()
    proof = Proof(root)
    outcomes: dict[str, Counter[str]] = {}
    wrong: list[str] = []
    resumed = {n: files for n, files in proof.kinds.items() if n.startswith("stopped/")}
    for number in range(flips + resumes):
        kinds = sorted(proof.kinds) if number < flips else sorted(resumed)
        kind = kinds[number % len(kinds)]
        name = draw.choice(proof.kinds[kind])
        flip = Flip(name, draw.randrange(8 * len(proof.mirror.files[name])))
        told, why = proof.look(flip, () if number < flips else ("resume", "resume and match"))
        outcomes.setdefault(kind if number < flips else "resumed", Counter())[told] += 1
        wrong += why
    total: Counter[str] = sum(outcomes.values(), Counter())
    return {
        "flips": flips,
        "resumes": resumes,
        "seed": seed,
        "readers": len(READERS),
        "files": len(proof.mirror.files),
        "total": dict(total),
        "kinds": {kind: dict(counted) for kind, counted in sorted(outcomes.items())},
        "wrong": wrong,
        "seconds": round(time.monotonic() - began, 1),
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(atomic_files, "disk", QuickDisk()):
        flips, resumes, seed = map(int, sys.argv[1:4])
        print(json.dumps(prove(flips, resumes, seed, Path(folder).resolve()), indent=1))
