"""Memory for images of many prompts in pages, which are taken when images come and given back when a prompt ends.

A page holds as many images as a block of pairs has rows, so that a block's images lie together wherever its page is. The
store is one tensor, since a launch has one base address and one descriptor: when no page is free it is made larger and
copied, to twice its size, or to what is needed where memory does not allow that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch


class ImagePages:
    """Pages of ``size`` images (H, W, C) uint8 in ``store`` (pages, size, H, W, C), and which of them each slot has.

    The first ``pages`` of them are allocated at once. Nothing here waits for the device.
    """

    def __init__(
        self, pages: int, size: int, shape: tuple[int, int, int], device: torch.device | str
    ) -> None:
        self.size = size
        self.store = torch.empty(pages, size, *shape, dtype=torch.uint8, device=device)
        self._free = list(range(pages - 1, -1, -1))
        self._of: dict[int, list[int]] = {}

    def of(self, slot: int) -> Sequence[int]:
        """Return the pages of a slot, in the order of its images."""
        return self._of.get(slot, ())

    def reserve(self, counts: Mapping[int, int]) -> list[int]:
        """Let each slot have pages for as many images as ``counts`` says, and return the slots that got more.

        torch.OutOfMemoryError: none has more.
        """
        missing = {}
        for slot, count in counts.items():
            more = -(-count // self.size) - len(self._of.get(slot, ()))
            if more > 0:
                missing[slot] = more
        wanted = sum(missing.values())
        if wanted > len(self._free):
            self._grow(wanted - len(self._free))
        for slot, more in missing.items():
            taken = [self._free.pop() for _ in range(more)]
            self._of.setdefault(slot, []).extend(taken)
        return list(missing)

    def release(self, slot: int) -> None:
        """Give a slot's pages back, those with low numbers to be taken first."""
        self._free = sorted([*self._free, *self._of.pop(slot, ())], reverse=True)

    def images(self, slot: int, count: int) -> torch.Tensor:
        """Return the first ``count`` images of a slot (count, H, W, C): a view where its pages follow each other."""
        pages = self.of(slot)[: -(-count // self.size)]
        first = pages[0] if pages else 0
        if list(pages) == list(range(first, first + len(pages))):
            return self.store[first : first + len(pages)].flatten(0, 1)[:count]
        return torch.cat([self.store[page] for page in pages])[:count]

    def image(self, slot: int, position: int) -> torch.Tensor:
        """Return one image (H, W, C), a view."""
        return self.store[self.of(slot)[position // self.size], position % self.size]

    def _grow(self, least: int) -> None:
        """Add ``least`` pages, or as many again as there are where memory allows that."""
        have = len(self.store)
        shape = self.store.shape[1:]
        for more in dict.fromkeys((max(least, have), least)):
            try:
                larger = torch.empty(have + more, *shape, dtype=torch.uint8, device=self.store.device)
            except torch.OutOfMemoryError:
                if more == least:
                    raise
                continue
            larger[:have] = self.store
            self.store = larger
            self._free = [*range(have + more - 1, have - 1, -1), *self._free]
            return
