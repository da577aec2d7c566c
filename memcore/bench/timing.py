"""Time two sides in turn in one process, after the answer was checked; ratios are of pairs."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memcore.bench.peers import load, missing
from memcore.errors import MemcoreError

Call = Callable[[], Any]

#: A sample shorter than this is repeated within the sample, so that the clock's resolution has no effect.
SHORTEST_SAMPLE_S = 0.005
#: A sample is clean if the wall clock ran less than this many times as far as the processor's.
CLEAN = 1.05
#: A sample that was not clean is taken again, up to this many times, unless it took longer than that.
MOST_ATTEMPTS = 3
#: Rounds of two sides in turn, however long they take: a median of fewer says nothing of the spread.
LEAST_ROUNDS = 3
LONGEST_AGAIN_S = 0.3


class WrongAnswerError(MemcoreError, AssertionError):
    """What was to be timed gave a wrong answer, so nothing was timed."""


class Spread(NamedTuple):
    """Median, lowest and highest of a few measurements, in one unit."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """Return the spread of these values."""
        return cls(float(np.median(values)), min(values), max(values))


class Pairs(NamedTuple):
    """Seconds a call of both sides, round by round: entries i of both were measured one after the other."""

    ours_s: list[float]
    other_s: list[float]

    @property
    def times_faster(self) -> Spread:
        """Return how many times faster we are: the median of the paired ratios, not the ratio of the medians."""
        return Spread.of([b / a for a, b in zip(self.ours_s, self.other_s, strict=True)])

    @property
    def times_the_time(self) -> Spread:
        """Return how many times the other's time we take."""
        return Spread.of([a / b for a, b in zip(self.ours_s, self.other_s, strict=True)])


def require_equal(what: str, got: NDArray[Any], want: NDArray[Any]) -> None:
    """Raise WrongAnswerError unless both arrays are equal, integer by integer."""
    if got.shape != want.shape:
        raise WrongAnswerError(f"{what}: shape {got.shape} instead of {want.shape}; nothing was timed")
    wrong = np.argwhere(got != want)
    if len(wrong):
        at = tuple(int(i) for i in wrong[0])
        raise WrongAnswerError(
            f"{what}: {len(wrong)} of {got.size} values are wrong, the first at {at}: {got[at]} instead of "
            f"{want[at]}; nothing was timed"
        )


def measure(call: Call, repeats: int = 1, *, attempts: int = MOST_ATTEMPTS) -> float:
    """Return seconds a call, over ``repeats`` calls in a row."""
    return _cleanest(call, repeats, attempts)[0]


def measured_rate(call: Callable[[], float]) -> float:
    """Return what a call that measures its own rate by the wall clock gives, free of what others took."""
    _, stretch, rate = _cleanest(call, 1, MOST_ATTEMPTS)
    return float(rate) * stretch


def _cleanest(call: Call, repeats: int, attempts: int) -> tuple[float, float, Any]:
    """Return seconds a call, how many times as far the wall clock ran, and the last answer.

    Seconds are the wall clock's or the processor's, whichever is less: on a machine that others use too, the wall
    clock also runs while the processor works for them. That leaves cold caches, so a sample in which it happened is
    taken again a few times, and the cleanest counts.
    """
    seconds, stretch, answer = float("inf"), float("inf"), None
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(attempts):
            wall, busy = time.perf_counter(), time.process_time()
            for _ in range(repeats):
                last = call()
            wall, busy = time.perf_counter() - wall, time.process_time() - busy
            # With more than one thread, the processor's seconds add up to more than the wall clock's.
            counted = min(wall, busy) or wall
            if wall / counted < stretch:
                seconds, stretch, answer = counted / repeats, wall / counted, last
            if stretch < CLEAN or wall > LONGEST_AGAIN_S:
                break
    finally:
        if collecting:
            gc.enable()
    return seconds, stretch, answer


def repeats_for(call: Call) -> int:
    """Return how many calls make a sample long enough to measure; also the warm-up."""
    first = measure(call)
    if first > SHORTEST_SAMPLE_S:
        return 1
    return max(1, round(SHORTEST_SAMPLE_S / max(measure(call, 3), 1e-8)))


def alone(call: Call, rounds: int) -> list[float]:
    """Return seconds a call in each of ``rounds`` samples."""
    repeats = repeats_for(call)
    return [measure(call, repeats) for _ in range(rounds)]


def in_turn(ours: Call, other: Call, rounds: int, budget_s: float = float("inf")) -> Pairs:
    """Time both sides in turn; every other round starts with the other side, so neither is always second.

    At least ``LEAST_ROUNDS``, then as many of ``rounds`` as fit into ``budget_s`` seconds of the processor.
    """
    started = time.process_time()
    ours_repeats, other_repeats = repeats_for(ours), repeats_for(other)
    pairs = Pairs([], [])
    for number in range(rounds):
        before = time.process_time()
        if number % 2:
            other_s = measure(other, other_repeats)
            ours_s = measure(ours, ours_repeats)
        else:
            ours_s = measure(ours, ours_repeats)
            other_s = measure(other, other_repeats)
        pairs.ours_s.append(ours_s)
        pairs.other_s.append(other_s)
        now = time.process_time()
        if number + 1 >= LEAST_ROUNDS and now - started + (now - before) > budget_s:
            break
    return pairs


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread for every library that is installed: BLAS and OpenMP pools, torch, faiss and networkit."""
    with contextlib.ExitStack() as stack:
        if missing("torch") is None:
            torch = load("torch")
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(1)
        if missing("faiss") is None:
            faiss = load("faiss")
            stack.callback(faiss.omp_set_num_threads, faiss.omp_get_max_threads())
            faiss.omp_set_num_threads(1)
        if missing("threadpoolctl") is None:
            stack.enter_context(load("threadpoolctl").threadpool_limits(1))
        yield
