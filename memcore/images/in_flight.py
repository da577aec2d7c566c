"""A budget in bytes for the images that are being decoded: threads wait for each other, whatever a header claims."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

#: Images up to this many pixels are decoded without asking: as many as there are threads fit into any memory.
SMALL = 1 << 20
#: Bytes a pixel that a decoder needs while it works: four channels, twice.
PIXEL_BYTES = 8
#: Bytes of larger images that all threads of a process decode at a time; a single image may have more.
LIMIT = 1 << 28


class ByteBudget:
    """Bytes that several threads share. A thread waits until what it asks for is free; alone it gets any amount."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._freed = threading.Condition()

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Hold ``size`` bytes within the block."""
        with self._freed:
            self._freed.wait_for(lambda: not self._held or self._held + size <= self._limit)
            self._held += size
        try:
            yield
        finally:
            with self._freed:
                self._held -= size
                self._freed.notify_all()


#: The budget of this process.
_decoding = ByteBudget(LIMIT)
_NOTHING = nullcontext()


def of(pixels: int) -> AbstractContextManager[None]:
    """Hold what it takes to decode an image of this many pixels within the block."""
    return _decoding.hold(PIXEL_BYTES * pixels) if pixels > SMALL else _NOTHING
