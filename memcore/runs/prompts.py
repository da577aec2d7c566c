"""A run's prompts, read a piece at a time: there may be more than a process should hold."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeAlias, overload

from memcore.conditions import Condition
from memcore.errors import ConfigError, MissingExtraError, RunError
from memcore.runs import layout
from memcore.sources.conditioned import ConditionedPrompt, ConditionedPrompts
from memcore.sources.text import ListCounts, TextList
from memcore.system.claims import check_claims
from memcore.system.parquet import ParquetTable

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    raise MissingExtraError("pyarrow", "audit", "A run folder") from None

PROMPTS = pa.schema([("prompt_id", pa.int64()), ("prompt", pa.string())])
#: Of a run whose prompts have conditions: a class by its number, and the sha256 of the pixels of a given image and a mask.
CONDITION_COLUMNS = {"label": pa.int64(), "image": pa.string(), "mask": pa.string()}
#: A prompt, alone or with its condition.
Entry: TypeAlias = str | ConditionedPrompt | tuple[str, Condition]
#: Prompts of a row group, which is read as one piece: less than a megabyte of text.
ROW_GROUP = 4096
#: A prompt's text, and what is recorded of its condition.
Recorded: TypeAlias = tuple[str, dict[str, Any]]
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

    ``blank`` lines of their file were skipped, and ``repeated`` prompts stand there more than once. ``conditions`` names
    what each prompt has besides: the digest is then that of a list of [text, condition].
    """

    count: int
    digest: str
    blank: int = dataclasses.field(default=0, compare=False)
    repeated: int = dataclasses.field(default=0, compare=False)
    conditions: tuple[str, ...] = ()


def scan_prompts(prompts: Iterable[Entry], copy: IO[bytes] | None = None) -> PromptList:
    """Count and digest the prompts in one pass, and write them to ``copy``, if given, as prompts.parquet.

    Of a condition the label counts, and the pixels of images, whatever their files are called.

    Raises ConfigError for a prompt that is not a text, or that UTF-8 cannot encode, and for prompts of which some have
    other conditions than the first.

    >>> scan_prompts(["a dog"]).digest == hashlib.sha256(json.dumps(["a dog"]).encode()).hexdigest()
    True
    """
    count = 0
    digest = hashlib.sha256(b"[")
    kinds: tuple[str, ...] | None = None

    def checked() -> Iterator[Recorded]:
        nonlocal count, kinds
        for prompt, record in iter_recorded(prompts):
            _check(prompt, count)
            kinds = tuple(record) if kinds is None else kinds
            if tuple(record) != kinds:
                raise ConfigError(
                    f"prompt {count} has {_listed(record)}, and the first one has {_listed(kinds)}: the prompts of a run "
                    "have the same kinds of conditions"
                )
            entry = json.dumps([prompt, record] if record else prompt)
            digest.update((", " if count else "").encode() + entry.encode())
            count += 1
            yield prompt, record

    if copy is None:
        collections.deque(checked(), maxlen=0)
    else:
        _write_parquet(checked(), copy)
    digest.update(b"]")
    told = prompts.counts if isinstance(prompts, TextList | ConditionedPrompts) else ListCounts()
    # an iterator may have more prompts than a set should hold
    repeated = count - len(set(prompts)) if isinstance(prompts, list | tuple) else told.repeated
    return PromptList(count, digest.hexdigest(), told.blank, repeated, kinds or ())


def iter_recorded(prompts: Iterable[Entry]) -> Iterator[Recorded]:
    """Yield each prompt's text, and what is recorded of its condition: nothing if it has none."""
    if isinstance(prompts, Prompts):
        yield from prompts.recorded()
        return
    for entry in prompts:
        if isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[1], Condition):
            yield entry[0], entry[1].record()
        else:
            yield entry, {}  # whatever is no text is refused by its number


def _listed(kinds: Iterable[str]) -> str:
    return " and ".join(kinds) or "no condition"


def _check(prompt: Any, number: int) -> None:
    if not isinstance(prompt, str):
        raise ConfigError(f"prompt {number} must be a text, got {prompt!r} ({type(prompt).__name__})")
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"prompt {number} is not a text that UTF-8 can encode: {prompt!r} ({error.reason})"
        ) from None


def _write_parquet(prompts: Iterator[Recorded], file: IO[bytes]) -> None:
    """Write prompts.parquet in row groups that are read one by one. Without conditions it has the two columns alone."""
    group = list(itertools.islice(prompts, ROW_GROUP))
    kinds = [name for name in CONDITION_COLUMNS if group and name in group[0][1]]
    schema = pa.schema([*PROMPTS, *((name, CONDITION_COLUMNS[name]) for name in kinds)])
    with pq.ParquetWriter(file, schema, compression="zstd", compression_level=3) as writer:
        first = 0
        while group:
            columns: dict[str, Any] = {name: [record[name] for _, record in group] for name in kinds}
            columns |= {"prompt_id": range(first, first + len(group)), "prompt": [text for text, _ in group]}
            writer.write_table(pa.table(columns, schema=schema))
            first += len(group)
            group = list(itertools.islice(prompts, ROW_GROUP))


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
        self._held: dict[int, tuple[list[str], list[dict[str, Any]]]] = {}

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
        return self._find(index)[0]

    def record(self, index: int) -> dict[str, Any]:
        """Return what is recorded of a prompt's condition: label, and sha256 of image and mask; nothing without one."""
        return self._find(index)[1]

    def recorded(self) -> Iterator[Recorded]:
        """Yield each prompt with its record."""
        return (self._find(i) for i in range(self._count))

    def _find(self, index: int) -> Recorded:
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
        texts, records = self._held[group]
        at = index - self._starts[group]
        return texts[at], records[at] if records else {}

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

    def _read(self, group: int) -> tuple[list[str], list[dict[str, Any]]]:
        try:
            kinds = [name for name in CONDITION_COLUMNS if name in self._file.schema_arrow.names]
            table = self._file.read_row_group(group, ["prompt", *kinds], use_threads=False)
            held: list[str] = table["prompt"].to_pylist()
            records: list[dict[str, Any]] = table.select(kinds).to_pylist() if kinds else []
        except (OSError, pa.ArrowException, KeyError, UnicodeDecodeError) as error:
            raise self._unreadable(error) from None
        promised = self._file.metadata.row_group(group).num_rows
        if len(held) != promised:
            raise RunError(
                f"{self._place}/{layout.PROMPTS} cannot be read: {len(held)} of {promised} prompts in row group {group}"
            )
        return held, records

    def _unreadable(self, error: Exception) -> RunError:
        return RunError(f"{self._place}/{layout.PROMPTS} cannot be read: {error}")

    def _open(self) -> None:
        try:
            opened = self._open_file()
            file = ParquetTable(opened, pre_buffer=False)
            check_claims(file, opened)
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
