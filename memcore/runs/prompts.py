"""A run's prompts, read a piece at a time: there may be more than a process should hold."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, overload

from memcore.errors import ConfigError, MissingExtraError, RunError
from memcore.runs import layout
from memcore.sources.text import ListCounts, TextList
from memcore.system.columns import check_claims

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    raise MissingExtraError("pyarrow", "audit", "A run folder") from None

PROMPTS = pa.schema([("prompt_id", pa.int64()), ("prompt", pa.string())])
#: Prompts of a row group, which is read as one piece: less than a megabyte of text.
ROW_GROUP = 4096
#: Bytes of the file that are checked at a time.
_PIECE_BYTES = 1 << 20


class TextPrompts(TextList):
    """The prompts of a file, one a line or a row: blank ones are skipped and counted. Read again each time."""


#: The column ``prompt``, ``caption`` or ``text`` of a Parquet file, a batch of rows at a time.
ParquetPrompts = TextPrompts


def read_prompts(path: Path) -> TextPrompts:
    """Return the prompts of a file, to be gone through as often as needed, never held as a whole.

    The suffix says what it is: .txt, .csv, .tsv, .jsonl or .parquet. A run's prompts are numbered by what is used.
    """
    return TextPrompts(path)


@dataclasses.dataclass(frozen=True)
class PromptList:
    """What one pass over a run's prompts found: how many there are, and the sha256 of their JSON list.

    ``blank`` lines of their file were skipped, and ``repeated`` prompts stand there more than once.
    """

    count: int
    digest: str
    blank: int = dataclasses.field(default=0, compare=False)
    repeated: int = dataclasses.field(default=0, compare=False)


def scan_prompts(prompts: Iterable[str], copy: IO[bytes] | None = None) -> PromptList:
    """Count and digest the prompts in one pass, and write them to ``copy``, if given, as prompts.parquet.

    Raises ConfigError for a prompt that is not a text, or that UTF-8 cannot encode.

    >>> scan_prompts(["a dog"]).digest == hashlib.sha256(json.dumps(["a dog"]).encode()).hexdigest()
    True
    """
    count = 0
    digest = hashlib.sha256(b"[")

    def checked() -> Iterator[str]:
        nonlocal count
        for prompt in prompts:
            _check(prompt, count)
            digest.update((", " if count else "").encode() + json.dumps(prompt).encode())
            count += 1
            yield prompt

    if copy is None:
        collections.deque(checked(), maxlen=0)
    else:
        _write_parquet(checked(), copy)
    digest.update(b"]")
    told = prompts.counts if isinstance(prompts, TextList) else ListCounts()
    # an iterator may have more prompts than a set should hold
    repeated = count - len(set(prompts)) if isinstance(prompts, list | tuple) else told.repeated
    return PromptList(count, digest.hexdigest(), told.blank, repeated)


def _check(prompt: Any, number: int) -> None:
    if not isinstance(prompt, str):
        raise ConfigError(f"prompt {number} must be a text, got {prompt!r} ({type(prompt).__name__})")
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"prompt {number} is not a text that UTF-8 can encode: {prompt!r} ({error.reason})"
        ) from None


def _write_parquet(prompts: Iterator[str], file: IO[bytes]) -> None:
    """Write prompts.parquet in row groups that are read one by one."""
    with pq.ParquetWriter(file, PROMPTS, compression="zstd", compression_level=3) as writer:
        first = 0
        while group := list(itertools.islice(prompts, ROW_GROUP)):
            ids = range(first, first + len(group))
            writer.write_table(pa.table({"prompt_id": ids, "prompt": group}, schema=PROMPTS))
            first += len(group)


class Prompts(Sequence[str]):
    """prompts.parquet as a sequence that holds two row groups at most.

    ``open_file`` opens the file for random access; it is called once, and again after unpickling.
    """

    def __init__(self, open_file: Callable[[], IO[bytes]], count: int, place: str) -> None:
        self._open_file = open_file
        self._count = count
        self._place = place
        self._file: Any = None
        self._starts: list[int] = []
        self._held: dict[int, list[str]] = {}

    def __reduce__(self) -> tuple[type[Prompts], tuple[Callable[[], IO[bytes]], int, str]]:
        """Pickle how the file is opened, not what was read."""
        return Prompts, (self._open_file, self._count, self._place)

    def __repr__(self) -> str:
        """Return one line."""
        return f"Prompts(count={self._count}, run={self._place!r})"

    def __len__(self) -> int:
        """Return the number of prompts."""
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Return a prompt, or a list of some."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        if index < 0:
            index += self._count
        if not 0 <= index < self._count:
            raise IndexError(f"prompt {index} of {self._count}")
        import bisect

        if self._file is None:
            self._open()
        group = bisect.bisect_right(self._starts, index) - 1
        if group not in self._held:
            while len(self._held) > 1:
                self._held.pop(next(iter(self._held)))
            self._held[group] = self._read(group)
        return self._held[group][index - self._starts[group]]

    def __iter__(self) -> Iterator[str]:
        """Yield the prompts in order."""
        return (self[i] for i in range(self._count))

    def __eq__(self, other: object) -> bool:
        """Return whether another sequence holds the same prompts."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def check(self) -> None:
        """Check the whole file. Raises DamagedFileError, and RunError if it cannot be read."""
        try:
            with self._open_file() as file:
                while file.read(_PIECE_BYTES):
                    pass
        except OSError as error:
            raise self._unreadable(error) from None

    def _read(self, group: int) -> list[str]:
        try:
            table = self._file.read_row_group(group, ["prompt"], use_threads=False)
            held: list[str] = table["prompt"].to_pylist()
        except (OSError, pa.ArrowException, KeyError, UnicodeDecodeError) as error:
            raise self._unreadable(error) from None
        promised = self._file.metadata.row_group(group).num_rows
        if len(held) != promised:
            raise RunError(
                f"{self._place}/{layout.PROMPTS} cannot be read: {len(held)} of {promised} prompts in row group {group}"
            )
        return held

    def _unreadable(self, error: Exception) -> RunError:
        return RunError(f"{self._place}/{layout.PROMPTS} cannot be read: {error}")

    def _open(self) -> None:
        try:
            opened = self._open_file()
            file = pq.ParquetFile(opened, pre_buffer=False)
            check_claims(file, opened.seek(0, os.SEEK_END))
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self._unreadable(error) from None
        start, starts = 0, []
        for group in range(file.num_row_groups):
            starts.append(start)
            start += file.metadata.row_group(group).num_rows
        if start != self._count:
            raise RunError(
                f"{self._place}/{layout.PROMPTS} has {start} prompts where run.toml says {self._count}"
            )
        self._file, self._starts = file, starts  # only now: whoever asks again is refused again
