"""Full batches out of many prompts, so that no batch waits for a prompt that is nearly done."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from memcore import arrays
from memcore.errors import ArgumentValueError
from memcore.sampling.budget import Budget, LargestClique
from memcore.sampling.seeds import derive_seeds
from memcore.types import Request, StopReason


@dataclasses.dataclass
class _Open:
    """A prompt that has been begun: images asked for so far, and how many may be asked for before the next decision."""

    prompt_id: int
    prompt: str
    generated: int = 0
    allowance: int = 0


class Batches:
    """An iterator over batches of Requests, made by ``interleave``. Between two batches it is told of results."""

    def __init__(
        self, prompts: Iterable[tuple[int, str]], budget: Budget, batch_size: int, run_seed: int
    ) -> None:
        self._prompts = iter(prompts)
        self._budget = budget
        self._size = arrays.check_count(batch_size, "batch_size")
        self._seed = arrays.check_count(run_seed, "run_seed", 0, 2**63 - 1)
        self._open: dict[int, _Open] = {}
        self._begun: set[int] = set()

    def __iter__(self) -> Iterator[tuple[Request, ...]]:
        return self

    def __next__(self) -> tuple[Request, ...]:
        for prompt_id in self.due():
            self.decide(prompt_id, _untold)
        batch: list[Request] = []
        for prompt in self._open.values():
            self._take(prompt, batch)
        while len(batch) < self._size and (begun := self._begin()) is not None:
            self._take(begun, batch)
        if not batch:
            raise StopIteration
        return tuple(batch)

    def due(self) -> list[int]:
        """Prompts whose images so far have all been handed out: each must be decided on before its next one."""
        return [prompt.prompt_id for prompt in self._open.values() if not prompt.allowance]

    def decide(self, prompt_id: int, largest: LargestClique) -> StopReason | None:
        """Asks the budget about a prompt that is due; a reason means that it has ended. A budget that need not know does
        not call ``largest``, so it may be left to the next batch to ask.
        """
        prompt = self._open[prompt_id]
        decision = self._budget.decide(prompt.generated, largest)
        prompt.allowance = decision.images
        if decision.stop is not None:
            del self._open[prompt_id]
        return decision.stop

    def drop(self, prompt_id: int) -> None:
        """No more images of this prompt, for example because it cannot be sampled."""
        self._open.pop(prompt_id, None)

    def _begin(self) -> _Open | None:
        for prompt_id, prompt in self._prompts:
            if prompt_id in self._begun:
                raise ArgumentValueError(f"prompts holds the prompt_id {prompt_id} twice")
            self._begun.add(prompt_id)
            begun = self._open[prompt_id] = _Open(prompt_id, prompt)
            if self.decide(prompt_id, _no_clique) is None:
                return begun
        return None

    def _take(self, prompt: _Open, batch: list[Request]) -> None:
        """Fills the batch with what the budget granted this prompt, as far as there is room."""
        count = min(prompt.allowance, self._size - len(batch))
        seeds = derive_seeds(self._seed, prompt.prompt_id, count, prompt.generated)
        batch.extend(Request(prompt.prompt_id, prompt.prompt, seed) for seed in seeds.tolist())
        prompt.generated += count
        prompt.allowance -= count


def _no_clique() -> tuple[int, int]:
    return 0, 0


def _untold() -> tuple[int, int]:
    raise ArgumentValueError(
        "the budget asks for the largest clique: between two batches, call decide(prompt_id, largest) for every prompt "
        "that is due()"
    )


def interleave(
    prompts: Iterable[tuple[int, str]], budget: Budget, batch_size: int, *, run_seed: int
) -> Batches:
    """Batches of ``batch_size`` Requests over (prompt_id, prompt) pairs; only the last ones can be short.

    The order is that of the prompts, then of the index within a prompt, and depends on nothing but the arguments and what
    the budget decides. A prompt that waits for a decision leaves its place in the batch to the next one. With ``Fixed``
    nothing needs to be told and only the very last batch is short.

    Raises ArgumentTypeError or ArgumentValueError for a batch size or seed that cannot be, or a prompt_id that comes twice.

    >>> from memcore.sampling import Fixed, interleave
    >>> batches = interleave([(0, "a dog"), (1, "a cat")], Fixed(3), 4, run_seed=0)
    >>> [[r.prompt_id for r in batch] for batch in batches]
    [[0, 0, 0, 1], [1, 1]]
    """
    return Batches(prompts, budget, batch_size, run_seed)
