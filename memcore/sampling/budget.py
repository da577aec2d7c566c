"""How many images a prompt gets. A rule that stops early is a new class here, with the same one method."""

from __future__ import annotations

import dataclasses
from typing import Protocol, runtime_checkable

from memcore import arrays


@runtime_checkable
class Budget(Protocol):
    """Decides, from what is known of a prompt, how many more of its images are worth sampling."""

    def next(self, generated: int, clique_size: int) -> int:
        """Images to sample before the question is asked again; 0 ends the prompt.

        ``generated`` counts the prompt's images so far, ``clique_size`` is the size of the largest clique among them.
        Must depend on nothing else, or a resumed run would differ from one that was never stopped.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Fixed:
    """The paper's rule: the same number of images for every prompt, whatever they show.

    Raises ArgumentTypeError or ArgumentValueError unless ``generations`` is an integer >= 1. Source: Carlini et al. 2023,
    section 4.2, 500 images a prompt.

    >>> Fixed(500).next(generated=0, clique_size=0), Fixed(500).next(generated=500, clique_size=12)
    (500, 0)
    """

    generations: int = 500

    def __post_init__(self) -> None:
        arrays.check_count(self.generations, "generations")

    def next(self, generated: int, clique_size: int) -> int:
        return max(0, self.generations - generated)
