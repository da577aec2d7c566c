"""The given images and masks of a run: stored once by the content of their pixels, and read where a prompt begins."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.conditions import Condition, pixels_sha256
from memcore.errors import ConfigError, DamagedFileError, RunError
from memcore.images import UnreadableImage, decode
from memcore.runs import layout
from memcore.runs.pictures import png_bytes
from memcore.runs.prompts import Entry, PromptList, scan_prompts
from memcore.storage.base import Storage

#: Images and masks that a process holds: prompts that are sampled side by side.
_HELD = 64
_SHA256 = re.compile("[0-9a-f]{64}")
#: Characters of a wrong name that a message shows.
_SHOWN = 80


def store_conditions(storage: Storage, prompts: Iterable[Entry], expected: PromptList) -> None:
    """Write the given images and masks of prompts, each once. Raises ConfigError if the list changed since it was read."""
    written: set[str] = set()

    def stored() -> Iterable[Entry]:
        for entry in prompts:
            if not isinstance(entry, str):
                _store(storage, entry[1], written)
            yield entry

    if scan_prompts(stored()).digest != expected.digest:
        raise ConfigError(
            "the prompts or their images were changed while the run was started: give the command again"
        )


def _store(storage: Storage, condition: Condition, written: set[str]) -> None:
    for pixels in (condition.image, condition.mask):
        if pixels is None or (name := pixels_sha256(pixels)) in written:
            continue
        shown = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, 2)
        storage.write(layout.condition_name(name), png_bytes(np.ascontiguousarray(shown)))
        written.add(name)


class StoredConditions:
    """The conditions of a run's prompts, read from its folder. Its pictures are checked against their names."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._pixels = functools.lru_cache(maxsize=_HELD)(self._read)

    def find(self, record: Mapping[str, Any]) -> Condition | None:
        """Return the condition of which this was recorded; None where nothing was.

        Raises RunError and DamagedFileError for a picture that is missing or another one.
        """
        if not record:
            return None
        image = self._pixels(str(record["image"]), mask=False) if "image" in record else None
        mask = self._pixels(str(record["mask"]), mask=True) if "mask" in record else None
        return Condition(record.get("label"), image, mask)

    def _read(self, name: str, *, mask: bool) -> NDArray[np.uint8]:
        if not _SHA256.fullmatch(name):  # it is a part of a path
            raise DamagedFileError(
                f"{self._storage.place}/{layout.PROMPTS} names {name[:_SHOWN]!r} as the sha256 of a given picture"
            )
        place = f"{self._storage.place}/{layout.condition_name(name)}"
        try:
            pixels = decode(self._storage.read(layout.condition_name(name)))
        except FileNotFoundError:
            raise RunError(
                f"{place} is missing, from which images of this run are made: start it again in another folder"
            ) from None
        except UnreadableImage as error:
            raise DamagedFileError(f"{place} is damaged: {error}") from None
        pixels = np.ascontiguousarray(pixels[..., 0]) if mask else pixels
        if pixels_sha256(pixels) != name:
            raise DamagedFileError(f"{place} is damaged: its pixels are not those that its name says")
        pixels.setflags(write=False)  # one array serves all requests
        return pixels
