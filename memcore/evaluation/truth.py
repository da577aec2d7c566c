"""Read truth.json: which prompts must be found, written by whoever planted the copies. docs/formats.md describes it."""

# No "from __future__ import annotations": the classes need the annotations to separate required from optional keys.

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypeAlias, TypedDict, cast

from memcore.errors import ConfigError
from memcore.runs.rows import TruthFile
from memcore.storage.digests import digest_bytes
from memcore.system.parsing import check_shape, parse_json
from memcore.system.plain_files import read_plain

FORMAT = 1
#: True: right to report. False: wrong to report. None: unknown, counted neither way.
Expected: TypeAlias = bool | None


class _Prompt(TypedDict):
    prompt: str


class Expectation(TypedDict):
    """What is expected of a prompt, and how many copies of which training images are the reason."""

    copies: int
    expected: Expected
    kind: NotRequired[str]
    training_images: NotRequired[list[int]]


class _Numbers(TypedDict):
    """What is read of an entry with finite numbers alone: a count of copies that was written as 3.0 is one."""

    copies: float
    training_images: NotRequired[list[int]]


class TruthEntry(_Prompt, Expectation):
    """An entry of truth.json."""


def read_truth(path: Path, prompts: Sequence[str]) -> list[TruthEntry]:
    """Return the entry of each prompt of the run, in order; ConfigError if the file or an entry is missing or malformed."""
    return check_truth(read_truth_file(path)[0], prompts)


def read_truth_file(path: Path) -> tuple[object, TruthFile]:
    """Return the content of a truth.json, not yet checked, and what tells it from another; ConfigError if it is no JSON."""
    try:
        data = read_plain(path)
        content: object = parse_json(data)
    except (OSError, ValueError) as error:
        raise ConfigError(f"truth={path} cannot be read: {error}") from None
    return content, {"path": str(path), **digest_bytes(data)}


def check_truth(truth: object, prompts: Sequence[str]) -> list[TruthEntry]:
    """Return the entry of each prompt in the content of a truth.json; ConfigError if one is missing or malformed."""
    if (
        not isinstance(truth, dict)
        or truth.get("format") != FORMAT
        or not isinstance(truth.get("prompts"), list)
    ):
        raise ConfigError(f'truth must be JSON with "format": {FORMAT} and a list "prompts"')
    entries = [_check_entry(entry) for entry in truth["prompts"]]
    by_prompt = {entry["prompt"]: entry for entry in entries}
    absent = [p for p in prompts if p not in by_prompt]
    if absent:
        raise ConfigError(f"truth lacks {len(absent)} of the run's prompts, the first is {absent[0]!r}")
    return [by_prompt[p] for p in prompts]


def _check_entry(entry: Any) -> TruthEntry:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"truth must have an object for each prompt, got {entry!r}")
    required = (name for name in TruthEntry.__annotations__ if name in TruthEntry.__required_keys__)
    missing = [name for name in required if name not in entry]
    if missing:
        raise ConfigError(f"truth has an entry without {missing[0]!r}: {entry}")
    known = cast(TruthEntry, entry)
    if known["expected"] not in (True, False, None):
        raise ConfigError(f"truth: expected must be true, false or null, got {known['expected']!r}")
    if not isinstance(known["prompt"], str) or not isinstance(known["copies"], int | float):
        raise ConfigError(f"truth: prompt must be text and copies a number, got {entry}")
    try:
        check_shape(entry, _Numbers)
        if known["copies"] < 0:
            raise ValueError(f"it.copies is {known['copies']}, not a count")
    except ValueError as error:
        raise ConfigError(f"truth has an entry that is wrong: {error} ({known['prompt']!r})") from None
    return known
