"""How many images a prompt gets: the paper's fixed number, or as many as it takes to decide."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Protocol, TypeAlias, runtime_checkable

from memcore import arrays
from memcore.errors import ArgumentTypeError, ArgumentValueError
from memcore.sampling.boundary import Boundary, find_boundary
from memcore.types import DEFAULT_MIN_CLIQUE, StopReason

#: (lower, upper) bounds of the size of the largest clique among a prompt's images so far; equal where it is proven.
#: A budget calls it only if it wants to know, since finding it costs time.
LargestClique: TypeAlias = Callable[[], tuple[int, int]]
#: Images between two looks for a complete clique.
LOOK_EVERY = 16


@dataclasses.dataclass(frozen=True)
class Decision:
    """``images`` to sample before the question is asked again, or why the prompt ends, with ``images`` 0."""

    images: int
    stop: StopReason | None = None


@runtime_checkable
class Budget(Protocol):
    """A rule that decides, from what is known of a prompt, how many more of its images are worth sampling."""

    def decide(self, generated: int, largest: LargestClique) -> Decision:
        """Return what to do with a prompt that has ``generated`` images; ``largest`` gives bounds of its largest clique.

        Must depend on nothing else, or a resumed run would differ from one that was never stopped.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Fixed:
    """The paper's rule: the same number of images for every prompt, whatever they show.

    Raises ArgumentTypeError or ArgumentValueError unless ``generations`` is an integer >= 1. Source: Carlini et al. 2023,
    section 4.2, 500 images a prompt.

    >>> Fixed(500).decide(0, lambda: (0, 0)).images, Fixed(500).decide(500, lambda: (12, 12)).stop
    (500, <StopReason.ALL: 'all'>)
    """

    generations: int = 500

    def __post_init__(self) -> None:
        """Check the number of images."""
        arrays.check_count(self.generations, "generations")

    def decide(self, generated: int, largest: LargestClique) -> Decision:
        """Grant what is left of the fixed number; never ask for the largest clique."""
        left = self.generations - generated
        return Decision(left) if left > 0 else Decision(0, StopReason.ALL)


@dataclasses.dataclass(frozen=True)
class Sequential:
    """A rule that stops a prompt once its clique is complete, or for futility: once it very probably never will be.

    The copy rate of a prompt is the chance that an image of it is one of a set of images which all lie within the
    threshold of each other (copies of one training image). A prompt with a copy rate of at least ``copy_rate`` is given up
    with a probability of at most ``miss_rate``, over all looks together. So of those prompts that ``Fixed(generations)``
    finds, at most that part is lost. Chance edges between other images can only delay the end: docs/budget.md has the
    proof. A prompt with a lower copy rate has no such guarantee.

    Parameters
    ----------
    copy_rate, miss_rate
        Both in (0, 1). A float stands for the shortest decimal that prints it.
    generations
        The most images a prompt gets: the fixed rule's number, which the miss rate is relative to.
    min_clique
        Images that make a complete clique.
    look_every
        Images between two looks for a complete clique; the looks at which a prompt is given up are fixed by the rates.

    Raises
    ------
    ArgumentTypeError, ArgumentValueError

    >>> rule = Sequential(0.10, 0.01)
    >>> rule.boundary.stops[:3]
    (64, 111, 148)
    >>> rule.decide(63, lambda: (1, 1)), rule.decide(64, lambda: (1, 1)).stop, rule.decide(32, lambda: (11, 11)).stop
    (Decision(images=1, stop=None), <StopReason.HOPELESS: 'hopeless'>, <StopReason.FOUND: 'found'>)
    """

    copy_rate: float
    miss_rate: float
    generations: int = 500
    min_clique: int = DEFAULT_MIN_CLIQUE
    look_every: int = LOOK_EVERY

    def __post_init__(self) -> None:
        """Check the rates and the numbers of images."""
        _check_rate(self.copy_rate, "copy_rate")
        _check_rate(self.miss_rate, "miss_rate")
        arrays.check_count(self.generations, "generations")
        arrays.check_count(self.min_clique, "min_clique", 2)
        arrays.check_count(self.look_every, "look_every")

    @functools.cached_property
    def boundary(self) -> Boundary:
        """The numbers of images at which prompts are given up, by exact arithmetic: the same on every machine."""
        return find_boundary(
            Fraction(str(self.copy_rate)), Fraction(str(self.miss_rate)), self.generations, self.min_clique
        )

    def decide(self, generated: int, largest: LargestClique) -> Decision:
        """Stop a prompt that is found, impossible or futile; else grant the images up to the next look."""
        if generated >= self.generations:
            return Decision(0, StopReason.ALL)
        # Found needs a clique that is there (lower). Giving up needs that no larger one can be there (upper): where a
        # search ended without proof, the prompt continues.
        lower, upper = largest() if generated else (0, 0)
        if lower >= self.min_clique:
            return Decision(0, StopReason.FOUND)
        if generated and upper + self.generations - generated < self.min_clique:
            return Decision(0, StopReason.IMPOSSIBLE)
        give_up = self.boundary.stop_at(upper)
        if generated and give_up is not None and generated >= give_up:
            return Decision(0, StopReason.HOPELESS)
        return Decision(self._next_look(generated, upper) - generated)

    def _next_look(self, generated: int, upper: int) -> int:
        """Return the number of images at the next look: never more than a stop that may apply by then."""
        regular = (generated // self.look_every + 1) * self.look_every
        ahead = [stop for stop in self.boundary.stops[max(upper, 1) - 1 :] if stop > generated]
        return min(self.generations, regular, *ahead[:1])


def _check_rate(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ArgumentTypeError(f"{name} must be a number between 0 and 1, got {type(value).__name__}")
    if not math.isfinite(value) or not 0 < value < 1:
        raise ArgumentValueError(f"{name} must lie between 0 and 1, both left out, got {value!r}")
