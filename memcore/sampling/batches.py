"""Full batches out of many prompts, so that no batch waits for a prompt that is nearly done."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from memcore import arrays
from memcore.errors import ArgumentValueError
from memcore.sampling.budget import Budget
from memcore.sampling.seeds import derive_seed
from memcore.types import Request


@dataclasses.dataclass
class _Open:
    """A prompt that has been begun: images asked for so far, and how many may be asked for before the next decision."""

    prompt_id: int
    prompt: str
    generated: int = 0
    allowance: int = 0
    clique_size: int = 0


class Batches:
    """An iterator over batches of Requests, made by ``interleave``. Between two batches it may be told of results."""

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
        batch: list[Request] = []
        for prompt in list(self._open.values()):
            self._take(prompt, batch)
        while len(batch) < self._size and (begun := self._begin()) is not None:
            self._take(begun, batch)
        if not batch:
            raise StopIteration
        return tuple(batch)

    def report(self, prompt_id: int, clique_size: int) -> None:
        """The largest clique among the prompt's images so far; the budget is asked with it before the next batch."""
        if prompt_id in self._open:
            self._open[prompt_id].clique_size = clique_size

    def drop(self, prompt_id: int) -> None:
        """No more images of this prompt, for example because it cannot be sampled."""
        self._open.pop(prompt_id, None)

    def _begin(self) -> _Open | None:
        for prompt_id, prompt in self._prompts:
            if prompt_id in self._begun:
                raise ArgumentValueError(f"prompts holds the prompt_id {prompt_id} twice")
            self._begun.add(prompt_id)
            self._open[prompt_id] = _Open(prompt_id, prompt)
            return self._open[prompt_id]
        return None

    def _take(self, prompt: _Open, batch: list[Request]) -> None:
        """Fills the batch from this prompt; the budget is asked only when all that it granted has been sampled."""
        if len(batch) == self._size:
            return
        if not prompt.allowance:
            prompt.allowance = self._budget.next(prompt.generated, prompt.clique_size)
            if prompt.allowance <= 0:
                del self._open[prompt.prompt_id]
                return
        count = min(prompt.allowance, self._size - len(batch))
        for index in range(prompt.generated, prompt.generated + count):
            seed = derive_seed(self._seed, prompt.prompt_id, index)
            batch.append(Request(prompt.prompt_id, prompt.prompt, seed))
        prompt.generated += count
        prompt.allowance -= count


def interleave(
    prompts: Iterable[tuple[int, str]], budget: Budget, batch_size: int, *, run_seed: int
) -> Batches:
    """Batches of ``batch_size`` Requests over (prompt_id, prompt) pairs; only the last ones can be short.

    The order is that of the prompts, then of the index within a prompt, and depends on nothing but the arguments and what
    is reported. With ``Fixed`` nothing needs to be reported and only the very last batch is short.

    Raises ArgumentTypeError or ArgumentValueError for a batch size or seed that cannot be, or a prompt_id that comes twice.

    >>> from memcore.sampling import Fixed, interleave
    >>> batches = interleave([(0, "a dog"), (1, "a cat")], Fixed(3), 4, run_seed=0)
    >>> [[r.prompt_id for r in batch] for batch in batches]
    [[0, 0, 0, 1], [1, 1]]
    """
    return Batches(prompts, budget, batch_size, run_seed)
