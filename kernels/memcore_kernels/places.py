"""Where the images of each slot go: rows of the store, which lie in pages, and rows of the tables beside it.

Both follow from a slot and a position, so they are computed once for a slot's pages; a batch only copies its part.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from memcore_kernels.pages import ImagePages


class Placed(NamedTuple):
    """A batch's places: ``table`` as ``Places.place`` describes it, and how many images each slot has before and after."""

    table: np.ndarray
    since: dict[int, int]
    end: dict[int, int]


class Places:
    """How many images each slot has, of at most ``capacity``, and where they are. Everything is known on the host."""

    def __init__(self, capacity: int, pages: ImagePages) -> None:
        self._capacity, self._pages = capacity, pages
        #: Blocks of pairs, one below the other, of a full slot: a page each.
        self.blocks = -(-capacity // pages.size)
        self.counts: list[int] = []
        self._known: list[list[int]] = []  # the pages that the tables below are of
        self._page_table = np.zeros((0, self.blocks), np.int64)
        self._rows = np.zeros((0, self.blocks * pages.size, 2), np.int64)

    def grow(self, slots: int) -> None:
        """Add empty slots."""
        more = np.zeros((slots, *self._rows.shape[1:]), np.int64)
        numbers = np.arange(len(self.counts), len(self.counts) + slots)
        more[:, :, 1] = numbers[:, None] * self._capacity + np.arange(more.shape[1])
        self._rows = np.concatenate([self._rows, more])
        self._page_table = np.concatenate([self._page_table, np.zeros((slots, self.blocks), np.int64)])
        self._known += [[] for _ in range(slots)]
        self.counts += [0] * slots

    def clear(self, slot: int) -> None:
        """Make room for another prompt."""
        self.counts[slot] = 0
        self._pages.release(slot)

    def place(self, count: int, runs: Iterable[tuple[int, int, int]]) -> Placed:
        """Give ``count`` images their places, by runs (slot, first, length), and count them.

        The table holds all that the launches need to know, int64 in one piece, so that one small copy brings it to the
        device: (slot, before, after, 0) of each prompt, then the pages of each prompt's blocks, then two rows of each
        image, as ``intake`` takes them.

        Raises ValueError for runs that leave out or repeat an image, and for a slot that is full.
        """
        counts = self.counts
        since: dict[int, int] = {}
        end: dict[int, int] = {}
        parts, named = [], 0
        for slot, first, length in runs:
            if not 0 <= slot < len(counts):
                raise ValueError(f"slots must be 0 to {len(counts) - 1}, got {slot}")
            if first != named or length < 1:
                raise ValueError(
                    f"runs must name each of {count} rows once and in order, got one of {length} rows from {first} "
                    f"where row {named} is next"
                )
            before = end.get(slot, counts[slot])
            since.setdefault(slot, before)
            end[slot] = before + length
            parts.append((slot, before, before + length))
            named += length
        if named != count:
            raise ValueError(f"runs must name all {count} images, got {named}")
        if max(end.values(), default=0) > self._capacity:
            raise ValueError(f"images must leave each slot at most {self._capacity}, got {max(end.values())}")
        for slot in self._pages.reserve(end):
            self._note_pages(slot)
        heads = [number for slot, after in end.items() for number in (slot, since[slot], after, 0)]
        rows = self._rows
        table = np.concatenate(
            [
                np.array(heads, np.int64),
                *[self._page_table[slot] for slot in end],
                *[rows[slot, first:last].reshape(-1) for slot, first, last in parts],
            ]
        )
        for slot, after in end.items():
            counts[slot] = after
        return Placed(table, since, end)

    def _note_pages(self, slot: int) -> None:
        """Compute the tables of a slot whose pages are others than before."""
        pages = [*self._pages.of(slot)]
        known = self._known[slot]
        if known[: len(pages)] == pages:  # as where a slot gets the pages again that it gave back
            return
        size = self._pages.size
        self._known[slot] = pages
        self._page_table[slot] = pages + [0] * (self.blocks - len(pages))
        first = np.array(pages, np.int64)[:, None] * size
        self._rows[slot, : len(pages) * size, 0] = (first + np.arange(size)).reshape(-1)
