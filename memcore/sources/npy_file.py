"""One .npy file of images, read a few at a time, straight to where they are compared.

It is never mapped: truncating a mapped file would kill the process.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
import stat
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from memcore.images import MAX_PIXELS, UnreadableImage
from memcore.sources.base import unreadable
from memcore.sources.walk import READ

Shape: TypeAlias = tuple[int, int, int]
#: Bytes of one prompt that are taken from a column-major file at a time.
_BLOCK_BYTES = 8 << 20
#: Images of the largest array; a damaged header may claim any number.
MAX_IMAGES = 1 << 40
#: Bytes of the longest header, which NumPy parses as Python.
MAX_HEADER = 10_000
_ADDRESS = re.compile(" at 0x[0-9a-f]+")


@dataclasses.dataclass(frozen=True)
class Header:
    """The header of an .npy file. ``shape`` is (N, H, W, C), or (P, N, H, W, C) for P prompts."""

    shape: tuple[int, ...]
    offset: int
    fortran: bool

    @property
    def prompts(self) -> int:
        """Return the number of prompts."""
        return self.shape[0] if len(self.shape) == 5 else 1

    @property
    def images(self) -> int:
        """Return the number of images of each prompt."""
        return self.shape[-4]

    @property
    def image_shape(self) -> Shape:
        """Return the shape of each image, (H, W, C)."""
        h, w, c = self.shape[-3:]
        return h, w, c


def read_header(path: Path) -> Header:
    """Return the header of an .npy file of uint8 images; raise UnreadableImage for others. Pickles are never loaded."""
    try:
        with open(os.open(path, READ), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UnreadableImage("path", "no plain file")
            version = np.lib.format.read_magic(file)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }.get(version)
            if read is None:
                raise UnreadableImage("unreadable", f"an .npy file of version {version}, not 1.0 or 2.0")
            length = int.from_bytes(file.read(2 * version[0]), "little")
            if length > MAX_HEADER:
                raise UnreadableImage("unreadable", f"an .npy file with a header of {length:,} bytes")
            file.seek(-2 * version[0], os.SEEK_CUR)
            shape, fortran, dtype = read(file)
            offset = file.tell()
    except UnreadableImage:
        raise
    except (
        Exception
    ) as error:  # NumPy parses a header as Python, which raises many kinds, tokenize.TokenError among them
        told = _ADDRESS.sub("", str(error).partition("\n")[0])  # which differ from run to run
        raise UnreadableImage("unreadable", f"{type(error).__name__}: {told}") from None
    check_images(dtype, shape)
    return Header(tuple(int(s) for s in shape), offset, bool(fortran))


def check_images(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Raise UnreadableImage unless the dtype and shape are those of uint8 images."""
    if dtype != np.uint8:
        hint = "; memcore.to_uint8() converts" if dtype.kind == "f" else ""
        raise UnreadableImage("dtype", f"{dtype} where uint8 is expected{hint}")
    if len(shape) not in (4, 5) or min(shape) < 1:
        raise UnreadableImage("wrong-size", f"{shape} where (N, H, W, C) or (P, N, H, W, C) is expected")
    if not 1 <= shape[-1] <= 4:
        first = " (channels come last, not first)" if shape[-3] <= 4 else ""
        raise UnreadableImage("wrong-size", f"{shape}: images of {shape[-1]} channels, not of 1 to 4{first}")
    if shape[-3] * shape[-2] > MAX_PIXELS or math.prod(shape[:-3]) > MAX_IMAGES:
        raise UnreadableImage(
            "too-large",
            f"{shape}: at most {MAX_IMAGES:,} images of {MAX_PIXELS:,} pixels are read",
        )


class ReadsItself(Protocol):
    """A graph that can read images from a file itself."""

    def extend_from(self, descriptor: int, offset: int, count: int) -> NDArray[np.bool_]:
        """Add up to ``count`` images from an open file; return which are constant."""
        ...


class StoredArray:
    """The images of one prompt in an .npy file of uint8, read whenever they are needed."""

    def __init__(self, path: Path, header: Header, index: int) -> None:
        self._path = path
        self._header = header
        self._index = index
        self._image_bytes = math.prod(header.image_shape)
        self.count = header.images
        self.scattered = header.fortran
        self.image_shape = header.image_shape
        self._start = header.offset + index * header.images * self._image_bytes

    def whole_images(self) -> int:
        """Return how many images the file has room for: fewer than its header says if it is cut short."""
        try:
            return min(self.count, max(0, self._path.stat().st_size - self._start) // self._image_bytes)
        except OSError:
            return 0

    @classmethod
    def whole(cls, path: Path, header: Header) -> StoredArray:
        """Return the images of all prompts of a file."""
        shape = (header.prompts * header.images, *header.image_shape)
        return cls(path, dataclasses.replace(header, shape=shape), 0)

    def read_into(
        self, targets: Iterator[NDArray[np.uint8]], *, first: int = 0
    ) -> Iterator[int | UnreadableImage]:
        """Fill each array (k, H, W, C) of ``targets`` with the next images of the prompt, from ``first`` on.

        Yields how many whole images were read into each; if the file ends early, the reason comes last.
        """
        if self._header.fortran:
            yield from self._read_scattered(targets, first)
            return
        try:
            with self._path.open("rb", buffering=0) as file:
                self._read_ahead(file)
                file.seek(self._start + first * self._image_bytes)
                for target in targets:
                    done = fill(file, target)
                    yield done // self._image_bytes
                    if done < target.nbytes:
                        yield UnreadableImage("truncated", "the file ends early")
                        return
        except OSError as error:
            yield unreadable(error)

    def feed(self, graph: ReadsItself, at_once: int) -> Iterator[int | UnreadableImage]:
        """Add the images to ``graph``, ``at_once`` at a time, without keeping them; yield as ``read_into`` does."""
        try:
            with self._path.open("rb", buffering=0) as file:
                self._read_ahead(file)
                done = 0
                while done < self.count:
                    wanted = min(at_once, self.count - done)
                    offset = self._start + done * self._image_bytes
                    got = len(graph.extend_from(file.fileno(), offset, wanted))
                    done += got
                    yield got
                    if got < wanted:
                        yield UnreadableImage("truncated", "the file ends early")
                        return
        except OSError as error:
            yield unreadable(error)

    def _read_ahead(self, file: FileIO) -> None:
        """Ask the system to read ahead while images are compared."""
        if hasattr(os, "posix_fadvise"):
            length = self.count * self._image_bytes
            os.posix_fadvise(file.fileno(), self._start, length, os.POSIX_FADV_SEQUENTIAL)

    def read_again(self, positions: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """Fill ``out`` (k, H, W, C) with the images at ``positions`` (k,), ascending.

        Raises UnreadableImage if the file has changed.
        """
        runs = np.split(np.arange(len(positions)), np.nonzero(np.diff(positions) != 1)[0] + 1)
        try:
            with self._path.open("rb", buffering=0) as file:
                for run in runs:
                    if not len(run):
                        continue
                    file.seek(self._start + int(positions[run[0]]) * self._image_bytes)
                    target = out[run[0] : run[-1] + 1]
                    if fill(file, target) < target.nbytes:
                        raise UnreadableImage("changed", "the file became shorter while it was read")
        except OSError as error:
            raise unreadable(error) from None

    def read_image(self, position: int) -> NDArray[np.uint8]:
        """Return one image; raise UnreadableImage if the file ends before it does."""
        out = np.empty(self.image_shape, np.uint8)
        try:
            with self._path.open("rb", buffering=0) as file:
                file.seek(self._start + position * self._image_bytes)
                if fill(file, out) < out.nbytes:
                    raise UnreadableImage("truncated", "the file ends early")
        except OSError as error:
            raise unreadable(error) from None
        return out

    def _read_scattered(
        self, targets: Iterator[NDArray[np.uint8]], first: int
    ) -> Iterator[int | UnreadableImage]:
        """Read a column-major file, as NumPy writes a transposed array: the bytes of all its images are mixed.

        It is read once from end to end and rearranged.
        """
        header = self._header
        count = header.images * self._image_bytes
        flat = np.empty(count, dtype=np.uint8)
        block = np.empty((min(count, _BLOCK_BYTES), header.prompts), dtype=np.uint8)
        try:
            with self._path.open("rb", buffering=0) as file:
                file.seek(header.offset)
                for begin in range(0, count, len(block)):
                    part = block[: count - begin]
                    if fill(file, part) < part.nbytes:
                        yield UnreadableImage("truncated", "the file ends early")
                        return
                    flat[begin : begin + len(part)] = part[:, self._index]
        except OSError as error:
            yield unreadable(error)
            return
        images = flat.reshape((header.images, *header.image_shape), order="F")
        done = first
        for target in targets:
            target[:] = images[done : done + len(target)]
            done += len(target)
            yield len(target)


def fill(file: FileIO, target: NDArray[np.uint8]) -> int:
    """Fill a contiguous array from a file; return the bytes read, fewer than it has only if the file ends."""
    wanted = target.reshape(-1).data
    done = 0
    while done < len(wanted) and (got := file.readinto(wanted[done:])):
        done += got
    return done
