"""The boundary of the sequential rule: when a prompt's clique is too small to continue, in integers alone.

docs/budget.md holds the proof of what is claimed here.
"""

from __future__ import annotations

import dataclasses
import functools
from fractions import Fraction

#: Probabilities are integers in units of 2^-256, always rounded up: every error that is stated is an upper bound.
_ONE = 1 << 256
#: Part of the miss rate that is kept for prompts with edges. Nearly all prompts have none, so what matters most is when
#: those stop: they get all that the rest can spare. Without a reserve prompts with one chance edge would stop far later.
_RESERVE = Fraction(1, 25)
#: Part of the reserve for cliques of two, since of the prompts with edges most have only chance pairs; the larger cliques
#: share the rest equally.
_PAIRS = Fraction(1, 2)


@dataclasses.dataclass(frozen=True)
class Boundary:
    """A prompt is given up once it has ``stops[s - 1]`` images and its largest clique has at most s members.

    ``stops`` ascends and holds one number of images for each clique size s = 1, 2, ... below ``min_clique`` at which
    giving up is possible before ``generations``. ``miss`` is the proven upper bound, over all looks together, of the
    probability that a prompt with the copy rate, or a higher one, is given up.
    """

    stops: tuple[int, ...]
    generations: int
    min_clique: int
    miss: Fraction

    def stop_at(self, clique_size: int) -> int | None:
        """Return the images after which a prompt whose largest clique has this size is given up; None: never."""
        position = max(clique_size, 1) - 1
        return self.stops[position] if position < len(self.stops) else None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What becomes of a prompt with a given copy rate and no other edges: probabilities, and the expected images.

    ``given_up`` is rounded up in its last of 256 binary places. ``lost`` is the part of it that the fixed rule finds.
    """

    given_up: Fraction
    lost: Fraction
    found: Fraction
    images: Fraction


@functools.lru_cache(maxsize=64)
def find_boundary(copy_rate: Fraction, miss_rate: Fraction, generations: int, min_clique: int) -> Boundary:
    """Return the earliest stops whose total error is at most ``miss_rate``, by dynamic programming over the images.

    The state is the number of copies so far, the worst case for the clique size (which is at least that). Each clique
    size in turn gets the earliest stop that its share of the miss rate allows; what it leaves goes to the next.
    """
    step = _Step(copy_rate, min_clique)
    most = miss_rate * _ONE
    mass = step.start()
    images, spent = 0, 0
    stops: list[int] = []
    for size in range(1, min_clique):
        if size == 1:
            allowed = most * (1 - _RESERVE)
        elif size == 2 and min_clique > 3:  # with 3 no larger one shares
            allowed = spent + (most - spent) * _PAIRS
        else:
            allowed = spent + (most - spent) / (min_clique - size)
        while images < generations and (not images or spent + sum(mass[: size + 1]) > allowed):
            mass = step.advance(mass)
            images += 1
        if images == generations:
            break
        stops.append(images)
        spent += sum(mass[: size + 1])
        mass = [0] * (size + 1) + mass[size + 1 :]
    return Boundary(tuple(stops), generations, min_clique, Fraction(spent, _ONE))


def outcome(boundary: Boundary, copy_rate: Fraction) -> Outcome:
    """Return what the boundary does to a prompt with this copy rate whose only edges are between its copies.

    A prompt is found with the image that completes its clique.
    """
    step = _Step(copy_rate, boundary.min_clique)
    needed = _reaching(step, boundary)
    mass = step.start()
    given_up, lost, images = 0, Fraction(0), 0
    stops = {count: size for size, count in enumerate(boundary.stops, 1)}
    for count in range(1, boundary.generations + 1):
        images += sum(mass)
        mass = step.advance(mass)
        if count in stops:
            for copies in range(stops[count] + 1):
                given_up += mass[copies]
                lost += Fraction(mass[copies], _ONE) * needed[count][copies]
                mass[copies] = 0
    left = Fraction(given_up + sum(mass), _ONE)
    return Outcome(Fraction(given_up, _ONE), lost, max(Fraction(0), 1 - left), Fraction(images, _ONE))


class _Step:
    """One image more: each copy count moves up with the copy rate. Counts of ``min_clique`` and more leave: found."""

    def __init__(self, copy_rate: Fraction, min_clique: int) -> None:
        self.yes, self.all = copy_rate.numerator, copy_rate.denominator
        self.no = self.all - self.yes
        self.sizes = min_clique

    def start(self) -> list[int]:
        return [_ONE, *[0] * (self.sizes - 1)]

    def advance(self, mass: list[int]) -> list[int]:
        before = [0, *mass]
        return [
            -(-(stay * self.no + come * self.yes) // self.all)
            for stay, come in zip(mass, before[:-1], strict=True)
        ]


def _reaching(step: _Step, boundary: Boundary) -> dict[int, list[Fraction]]:
    """Return, by stop and number of copies, the probability that the remaining images complete the clique."""
    wanted = {boundary.generations - count: count for count in boundary.stops}
    short = (
        step.start()
    )  # by the number of further copies: those paths that have fewer than min_clique of them
    result: dict[int, list[Fraction]] = {}
    for left in range(boundary.generations + 1):
        if left in wanted:
            below = [sum(short[: boundary.min_clique - copies]) for copies in range(boundary.min_clique)]
            result[wanted[left]] = [max(Fraction(0), 1 - Fraction(b, _ONE)) for b in below]
        short = step.advance(short)
    return result
