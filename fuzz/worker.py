"""The process in which a fuzzer's cases run. What watches it reads where it is from a file, whatever becomes of it."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import re
import resource
import struct
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fuzz.target import Case, Target, Wrong, load

#: A case may take that many seconds of this process's processors: a damaged file of a few kB is read in milliseconds.
SLOW_SECONDS = 20.0
#: A case may have that much more memory than there was before it: an image may have 256 MiB of pixels, twice over.
GROWN_BYTES = 1 << 30
#: What the machine is protected by while a case is looked at that takes far more.
_MOST_BYTES = 8 << 30
#: Failures of one kind that are reported; of further ones only the number.
_SAME = 2
#: Failures after which a fuzzer stops.
MOST_FAILURES = 40

_STATE = struct.Struct("qqd")  # number of the case, those done before it, seconds of processors when it began
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


class Failure(NamedTuple):
    """A case that failed: what happened, in full, and a short text that is equal for those of one kind."""

    case: str
    kind: str
    text: str


class State:
    """Where a worker is, in a file that another process can read at any time."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(_STATE.pack(-1, 0, 0.0))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _STATE.size)
        #: The input of the case that runs.
        self.given = path.with_name("given")

    def write(self, number: int, done: int) -> None:
        self._map[:] = _STATE.pack(number, done, time.process_time())

    def read(self) -> tuple[int, int, float]:
        number, done, began = _STATE.unpack(self._map[:])
        return number, done, began


class Result(NamedTuple):
    """What a series of cases found. ``done`` counts them, ``outcomes`` by the fuzzer's own words."""

    done: int
    outcomes: Counter[str]
    failures: list[Failure]
    slowest: float
    grown: int


def try_case(target: Target, data: bytes) -> tuple[str, tuple[str, str] | None]:
    """Return the outcome of a case, and kind and text of its failure, which may be too much time or memory."""
    began, before = time.process_time(), _memory("VmRSS")
    _forget_peak()
    try:
        outcome = target.check(data)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return "failed", (_kind(error), traceback.format_exc())
    seconds, grown = time.process_time() - began, _memory("VmHWM") - before
    if seconds > SLOW_SECONDS:
        return "failed", (
            "slow",
            f"it took {seconds:.0f} s, at most {SLOW_SECONDS:.0f} s are expected ({outcome})",
        )
    if grown > GROWN_BYTES:
        return "failed", (
            "memory",
            f"it took {grown >> 20} MiB, at most {GROWN_BYTES >> 20} are expected ({outcome})",
        )
    return outcome, None


def hunt(
    name: str,
    target: Target,
    seed: int,
    numbers: Iterator[int],
    *,
    until: float = float("inf"),
    state: State | None = None,
    on_failure: Callable[[Failure, bytes], None] = lambda failure, data: None,
) -> Result:
    """Run cases until their numbers, or the time (of ``time.monotonic``), or patience is spent."""
    outcomes: Counter[str] = Counter()
    failures: list[Failure] = []
    slowest, most, done = 0.0, 0, 0
    kinds: Counter[str] = Counter()
    for number in numbers:
        if time.monotonic() >= until or len(failures) >= MOST_FAILURES:
            break
        if state is not None:
            state.write(number, done)
        began, before = time.monotonic(), _memory("VmRSS")
        case = Case(name, seed, number)
        data = case.make(target)
        if state is not None:
            state.given.write_bytes(data)
        outcome, failed = try_case(target, data)
        slowest = max(slowest, time.monotonic() - began)
        most = max(most, _memory("VmHWM") - before)
        done += 1
        outcomes[outcome] += 1
        if failed is not None:
            kinds[failed[0]] += 1
            if kinds[failed[0]] <= _SAME:
                failures.append(Failure(str(case), *failed))
                on_failure(failures[-1], data)
    return Result(done, outcomes, failures, slowest, most)


def _kind(error: BaseException) -> str:
    """Return the error's type and its last place that is not of a library; of a wrong answer what is said of it."""
    if isinstance(error, Wrong):
        return re.sub(r"\d+", "0", str(error).partition("\n")[0])[:80]
    here = str(Path(__file__).parents[1])
    places = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(here)]
    place = f"{Path(places[-1].filename).name}:{places[-1].lineno}" if places else "?"
    return f"{type(error).__name__} at {place}"


def _memory(field: str) -> int:
    """Return a figure of this process's memory in bytes; 0 on a system that does not tell it."""
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith(field):
                return 1024 * int(line.split()[1])
    return 0


def _forget_peak() -> None:
    """Let VmHWM begin at what there is now."""
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")


def limit_memory() -> None:
    """Let this process have a few GiB more than it has, and write no core files."""
    size = _memory("VmSize")
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (size + _MOST_BYTES, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(name: str, seed: int, first: int, last: int, seconds: float, folder: Path) -> None:
    """Run the cases of a worker, and write what happens to files in its folder."""
    scratch = folder / f"scratch-{first}"
    scratch.mkdir()
    state = State(folder / "state")
    os.chdir(scratch)
    target = load(name, scratch)
    limit_memory()

    def write(record: dict[str, Any]) -> None:
        with (folder / "events").open("a") as file:
            file.write(json.dumps(record) + "\n")

    def on_failure(failure: Failure, data: bytes) -> None:
        kept = folder / f"input-{len(list(folder.glob('input-*')))}"
        kept.write_bytes(data)
        write({"failure": [*failure], "input": str(kept)})

    numbers = iter(range(first, last))
    until = time.monotonic() + seconds
    result = hunt(name, target, seed, numbers, until=until, state=state, on_failure=on_failure)
    state.write(-1, result.done)
    write({**result._asdict(), "failures": len(result.failures)})


if __name__ == "__main__":
    import faulthandler

    faulthandler.enable()
    name, *numbers, folder = sys.argv[1:]
    main(name, int(numbers[0]), int(numbers[1]), int(numbers[2]), float(numbers[3]), Path(folder))
