"""Full batches out of many prompts, so that no batch waits for a prompt that is nearly done."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from memcore import arrays
from memcore.errors import ArgumentValueError
from memcore.sampling.budget import Budget, LargestClique
from memcore.sampling.seeds import MOST_SEED_BITS, SEED_BITS, derive_seeds
from memcore.types import Condition, Request, StopReason

#: Returns the condition of a prompt by its number, None for one that has none.
FindCondition: TypeAlias = Callable[[int], Condition | None]


#: Seeds that are derived at once, of a prompt that is granted so many images.
SEEDS_AHEAD = 4096


@dataclasses.dataclass
class _Open:
    """A prompt that has been begun: images handed out so far, and how many may be before the next decision."""

    prompt_id: int
    prompt: str
    condition: Condition | None = None
    generated: int = 0
    allowance: int = 0
    #: Seeds of the images from ``generated`` on, derived for several batches at once.
    ahead: NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.empty(0, np.int64))


class SeedRun(NamedTuple):
    """Seeds of one prompt's images that follow each other in a batch."""

    prompt_id: int
    prompt: str
    seeds: NDArray[np.int64]
    condition: Condition | None = None


class RequestBatch(Sequence[Request]):
    """A sampler's batch: a run of seeds for each of its prompts. Its Requests are made when one is first read.

    >>> batch = RequestBatch([SeedRun(0, "a dog", np.array([7, 8])), SeedRun(1, "a cat", np.array([9]))])
    >>> len(batch), batch[1]
    (3, Request(prompt_id=0, prompt='a dog', seed=8))
    """

    def __init__(self, runs: Sequence[SeedRun]) -> None:
        self.runs = tuple(runs)
        self._length = sum(len(run.seeds) for run in self.runs)
        self._requests: tuple[Request, ...] | None = None

    def __repr__(self) -> str:
        """Return one line."""
        return f"RequestBatch(images={len(self)}, prompts={len(self.runs)})"

    def __len__(self) -> int:
        """Return the number of images asked for."""
        return self._length

    @overload
    def __getitem__(self, index: int) -> Request: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Request, ...]: ...

    def __getitem__(self, index: int | slice) -> Request | tuple[Request, ...]:
        """Return one Request, or those of a slice."""
        return self.requests()[index]

    def __iter__(self) -> Iterator[Request]:
        """Yield the Requests, in order."""
        return iter(self.requests())

    def requests(self) -> tuple[Request, ...]:
        """Return the Requests, in order."""
        if self._requests is None:
            self._requests = tuple(
                Request(run.prompt_id, run.prompt, seed, run.condition)
                for run in self.runs
                for seed in run.seeds.tolist()
            )
        return self._requests


class Batches:
    """An iterator over batches of Requests, made by ``interleave``. Between two batches it takes decisions."""

    def __init__(
        self,
        prompts: Iterable[tuple[int, str]],
        budget: Budget,
        batch_size: int,
        run_seed: int,
        seed_bits: int = SEED_BITS,
        conditions: FindCondition | None = None,
    ) -> None:
        self._prompts = iter(prompts)
        self._conditions = conditions
        self._budget = budget
        self._size = arrays.check_count(batch_size, "batch_size")
        self._seed = arrays.check_count(run_seed, "run_seed", 0, 2**63 - 1)
        self._seed_bits = arrays.check_count(seed_bits, "seed_bits", 1, MOST_SEED_BITS)
        self._open: dict[int, _Open] = {}
        self._begun: set[int] = set()

    def __repr__(self) -> str:
        """Return one line."""
        return f"Batches(batch_size={self._size}, begun={len(self._begun)}, open={len(self._open)})"

    def __iter__(self) -> Iterator[tuple[Request, ...]]:
        """Return the batches themselves: they can be read once."""
        return self

    def __next__(self) -> tuple[Request, ...]:
        """Return the next batch; raise StopIteration when no image is left to sample."""
        batch = self.next_batch()
        if batch is None:
            raise StopIteration
        return batch.requests()

    def next_batch(self) -> RequestBatch | None:
        """Return the next batch without making its Requests, or None when no image is left to sample."""
        for prompt_id in self.awaiting_decision():
            self.decide(prompt_id, _untold)
        runs: list[SeedRun] = []
        left = self._size
        for prompt in self._open.values():
            left -= self._take(prompt, left, runs)
        while left and (begun := self._begin()) is not None:
            left -= self._take(begun, left, runs)
        return RequestBatch(runs) if runs else None

    def awaiting_decision(self) -> list[int]:
        """Return the prompts whose images so far have all been handed out: each needs a decision before its next one."""
        return [prompt.prompt_id for prompt in self._open.values() if not prompt.allowance]

    def due(self) -> list[int]:
        """Return ``awaiting_decision()``, whose former name this is."""
        return self.awaiting_decision()

    def decide(self, prompt_id: int, largest: LargestClique) -> StopReason | None:
        """Ask the budget about a prompt that awaits a decision; a reason means that it has ended.

        A budget that need not know does not call ``largest``, so the question may be left to the next batch.
        """
        prompt = self._open[prompt_id]
        decision = self._budget.decide(prompt.generated, largest)
        prompt.allowance = decision.images
        if decision.stop is not None:
            del self._open[prompt_id]
        return decision.stop

    def drop(self, prompt_id: int) -> None:
        """Hand out no more images of this prompt, for example because it cannot be sampled."""
        self._open.pop(prompt_id, None)

    def _begin(self) -> _Open | None:
        for prompt_id, prompt in self._prompts:
            if prompt_id in self._begun:
                raise ArgumentValueError(f"prompts holds the prompt_id {prompt_id} twice")
            self._begun.add(prompt_id)
            condition = self._conditions(prompt_id) if self._conditions is not None else None
            begun = self._open[prompt_id] = _Open(prompt_id, prompt, condition)
            if self.decide(prompt_id, _no_clique) is None:
                return begun
        return None

    def _take(self, prompt: _Open, left: int, runs: list[SeedRun]) -> int:
        """Add what the budget granted this prompt, at most ``left`` images, and return how many that are."""
        count = min(prompt.allowance, left)
        if count:
            if len(prompt.ahead) < count:
                ahead = min(prompt.allowance, SEEDS_AHEAD, 2**self._seed_bits - prompt.generated)
                prompt.ahead = derive_seeds(
                    self._seed, prompt.prompt_id, max(count, ahead), prompt.generated, bits=self._seed_bits
                )
            seeds, prompt.ahead = prompt.ahead[:count], prompt.ahead[count:]
            runs.append(SeedRun(prompt.prompt_id, prompt.prompt, seeds, prompt.condition))
            prompt.generated += count
            prompt.allowance -= count
        return count


def _no_clique() -> tuple[int, int]:
    return 0, 0


def _untold() -> tuple[int, int]:
    raise ArgumentValueError(
        "the budget asks for the largest clique: between two batches, call decide(prompt_id, largest) for every prompt "
        "that is awaiting_decision()"
    )


def interleave(
    prompts: Iterable[tuple[int, str]],
    budget: Budget,
    batch_size: int,
    *,
    run_seed: int,
    seed_bits: int = SEED_BITS,
    conditions: FindCondition | None = None,
) -> Batches:
    """Return batches of ``batch_size`` Requests over (prompt_id, prompt) pairs; only the last ones can be short.

    The order is that of the prompts, then of the index within a prompt, and depends on nothing but the arguments and what
    the budget decides. A prompt that awaits a decision leaves its place in the batch to the next one. With ``Fixed``
    no decision needs an answer, and only the very last batch is short.

    ``conditions`` returns what else a prompt's images are made from; it is asked once, when the prompt begins.

    Raises ArgumentTypeError or ArgumentValueError for an impossible batch size or seed, or a prompt_id that comes twice.

    >>> from memcore.sampling import Fixed, interleave
    >>> batches = interleave([(0, "a dog"), (1, "a cat")], Fixed(3), 4, run_seed=0)
    >>> [[r.prompt_id for r in batch] for batch in batches]
    [[0, 0, 0, 1], [1, 1]]
    """
    return Batches(prompts, budget, batch_size, run_seed, seed_bits, conditions)
