"""Arrays of whole prompts in .npy files: read straight to where they are compared, a few images at a time."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.images import UnreadableImage

Shape = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Header:
    """What an .npy file says of itself. ``shape`` is (N, H, W, C), or (P, N, H, W, C) for P prompts."""

    shape: tuple[int, ...]
    offset: int
    fortran: bool

    @property
    def prompts(self) -> int:
        return self.shape[0] if len(self.shape) == 5 else 1

    @property
    def images(self) -> int:
        return self.shape[-4]

    @property
    def image_shape(self) -> Shape:
        h, w, c = self.shape[-3:]
        return h, w, c


def read_header(path: Path) -> Header:
    """The header of an .npy file of uint8 images; UnreadableImage for anything else. No pickle is ever loaded."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }.get(version)
            if read is None:
                raise UnreadableImage("unreadable", f"an .npy file of version {version}, not 1.0 or 2.0")
            shape, fortran, dtype = read(file)
            offset = file.tell()
    except (OSError, ValueError, EOFError, SyntaxError, TypeError) as error:
        raise UnreadableImage("unreadable", f"{type(error).__name__}: {error}") from None
    if dtype != np.uint8:
        raise UnreadableImage("dtype", f"{dtype} where uint8 is expected; memcore.to_uint8() converts")
    if len(shape) not in (4, 5) or min(shape) < 1:
        raise UnreadableImage("wrong-size", f"{shape} where (N, H, W, C) or (P, N, H, W, C) is expected")
    return Header(tuple(int(s) for s in shape), offset, bool(fortran))


def read_into(
    path: Path, header: Header, index: int, targets: Iterator[NDArray[np.uint8]]
) -> Iterator[int | UnreadableImage]:
    """Fills each array (k, H, W, C) of ``targets`` with the next images of the prompt ``index``.

    Yields the whole images read into each, and after one that is cut short why, as the last.
    """
    if header.fortran:
        yield from _read_mapped(path, header, index, targets)
        return
    image_bytes = int(np.prod(header.image_shape))
    start = header.offset + index * header.images * image_bytes
    try:
        with path.open("rb", buffering=0) as file:
            if hasattr(os, "posix_fadvise"):  # the system reads ahead while images are compared
                os.posix_fadvise(file.fileno(), start, header.images * image_bytes, os.POSIX_FADV_SEQUENTIAL)
            file.seek(start)
            for target in targets:
                wanted = target.reshape(-1).data
                done = 0
                while done < len(wanted) and (got := file.readinto(wanted[done:])):
                    done += got
                yield done // image_bytes
                if done < len(wanted):
                    yield UnreadableImage("truncated", "the file ends early")
                    return
    except OSError as error:
        yield UnreadableImage("unreadable", f"{type(error).__name__}: {error.strerror}")


def _read_mapped(
    path: Path, header: Header, index: int, targets: Iterator[NDArray[np.uint8]]
) -> Iterator[int | UnreadableImage]:
    """Column-major files, which NumPy writes of transposed arrays: their images lie scattered."""
    try:
        mapped: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        yield UnreadableImage("truncated", f"{type(error).__name__}: {error}")
        return
    images = mapped[index] if mapped.ndim == 5 else mapped
    done = 0
    for target in targets:
        target[:] = images[done : done + len(target)]
        done += len(target)
        yield len(target)
