"""The interface of a thread pool for work that one thread does at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from memcore.sources.chunks import Pixels
from memcore.sources.entries import QuarantineEntry
from memcore.sources.layouts import Item

Work: TypeAlias = Callable[[Item, Pixels], QuarantineEntry | None]


class Done:
    """The result of finished work. A Future takes longer to make than a small file takes to read."""

    __slots__ = ("_value",)

    def __init__(self, value: QuarantineEntry | None) -> None:
        self._value = value

    def result(self) -> QuarantineEntry | None:
        """Return the result."""
        return self._value


class InlinePool:
    """A pool without threads: work is done when it is submitted."""

    def __enter__(self) -> InlinePool:
        """Return the pool."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Do nothing: no work is left."""

    def submit(self, work: Work, item: Item, slot: Pixels) -> Done:
        """Do the work now."""
        return Done(work(item, slot))
