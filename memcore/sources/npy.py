"""Arrays of images in .npy and .npz files."""

from __future__ import annotations

import functools
import math
import os
import stat
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError
from memcore.images import UnreadableImage
from memcore.images.payload import Content
from memcore.sources.base import FileParts, digest_of, shown, unreadable
from memcore.sources.chunks import pages
from memcore.sources.entries import Batch, Entry, Place, make_places
from memcore.sources.npy_file import Header, Shape, StoredArray, check_images, fill, read_header
from memcore.sources.text import TextList
from memcore.sources.walk import READ

#: Bytes of images in a batch.
_BATCH_BYTES = 1 << 22
#: The bytes that an .npz may unpack to, or how many times its own size.
_PACKED_BYTES, _PACKED_RATIO = 1 << 30, 64


class ArraySource(FileParts):
    """Arrays (N, H, W, C) uint8 in .npy files, or in .npz files under the name ``images``, which are held in memory.

    All images of (P, N, H, W, C) count, prompt by prompt. ``captions`` is a text file with one line per image, in order
    across all files.
    """

    kind = "arrays"
    suffixes = (".npy", ".npz")
    option_names = ("captions",)

    def __init__(self, path: Path, captions: str = "", *, files: Sequence[Path] | None = None) -> None:
        super().__init__(path, files=files)
        self.options = {"captions": str(Path(captions).resolve())} if captions else {}
        self._given = captions
        self.captions = list(TextList(Path(captions), "captions", blank="keep")) if captions else None
        self._held: tuple[Path, Images] | None = None
        self._starts: list[int] = [0]
        if self.captions is not None:
            for part in range(len(self.parts)):
                self._starts.append(self._starts[-1] + self.count(part))
            while len(self.captions) > self._starts[-1] and not self.captions[-1]:
                self.captions.pop()  # blank lines at the end
            if self._starts[-1] != len(self.captions):
                raise ConfigError(
                    f"captions={captions} must have a line for each of {self._starts[-1]} images, "
                    f"got {len(self.captions)}"
                )

    def identity(self) -> str:
        """Return a digest of the files' names and sizes, and of the captions."""
        return digest_of(iter([super().identity(), *(self.captions or [])]))

    def keep(self, chosen: Sequence[int]) -> None:
        """Keep only the chosen parts, with their captions."""
        super().keep(chosen)
        if self.captions is not None:
            pieces = [self.captions[self._starts[i] : self._starts[i + 1]] for i in chosen]
            self.captions = [caption for piece in pieces for caption in piece]
            self._starts = [0, *np.cumsum([len(piece) for piece in pieces]).tolist()]

    def count(self, part: int) -> int:
        """Return the number of images in a file's header; 0 if it cannot be read."""
        return self._open(part).count if self.refusal(part) is None else 0

    def whole_images(self, part: int) -> int:
        """Return how many images of a file can be read, as far as its size tells."""
        return self._open(part).whole_images() if self.refusal(part) is None else 0

    def pointed_at(self, part: int) -> int:
        """Return the number of images in a file; 1 for a file that cannot be read."""
        return self.count(part) or 1

    def refusal(self, part: int) -> UnreadableImage | None:
        """Return why a whole file cannot be read, or None if it can."""
        try:
            self._open(part)
        except UnreadableImage as error:
            return error
        return None

    def entries(self, part: int, position: int = 0) -> Iterator[Entry]:
        """Yield the images of one file one by one; ``read`` yields many at a time."""
        for batch in self.read(part, position):
            for i, place in enumerate(batch.places):
                number = int(place["offset"])
                payload = batch.payloads[i]
                caption = None if batch.captions is None else batch.captions[i]
                content = functools.partial(self.load, Place(part, 0, number))
                yield Entry(
                    Place(part, 0, number),
                    int(batch.after[i]),
                    str(number) if batch.names is None else batch.names[i],
                    caption,
                    None,
                    shown(self.files[part].stem),
                    payload if isinstance(payload, UnreadableImage) else content,
                )

    def load(self, place: Place) -> Content:
        """Read the image at a place; raise UnreadableImage if it cannot be read."""
        return self._open(place.part).read_image(place.offset)

    def read(self, part: int, position: int) -> Iterator[Batch]:
        """Yield the images of one file from a position on, many at a time."""
        label = shown(self.parts[part].name)
        try:
            images = self._open(part)
        except UnreadableImage as error:
            if position == 0:
                yield _nothing(part, 0, 1, label, error)
            return
        step = max(1, _BATCH_BYTES // max(1, int(np.prod(images.image_shape))))
        done = position
        room = np.empty((0, *images.image_shape), np.uint8)

        def targets() -> Iterator[NDArray[np.uint8]]:
            nonlocal room
            while done < images.count:
                room = pages((min(step, images.count - done), *images.image_shape))
                yield room

        for got in images.read_into(targets(), first=position):
            if isinstance(got, UnreadableImage):
                yield _nothing(part, done, images.count, f"{label}[{done}:{images.count}]", got)
                return
            if got:
                numbers = np.arange(done, done + got)
                names = [f"{label}#{i}" for i in numbers] if len(self.parts) > 1 else None
                captions = None
                if self.captions is not None:
                    first = self._starts[part] + done
                    captions = self.captions[first : first + got]
                done += got
                yield Batch(make_places(part, numbers), numbers + 1, room[:got], names, captions)

    def _open(self, part: int) -> Images:
        file = self.files[part]
        held = self._held  # another thread may open the next one
        if held is not None and held[0] == file:
            return held[1]
        if file.suffix.lower() == ".npz":
            images: Images = Loaded.of_npz(file)
        else:
            header = read_header(file)
            images = Loaded.of_scattered(file, header) if header.fortran else StoredArray.whole(file, header)
        self._held = (file, images)
        return images

    def _reopened(self, path: Path, files: Sequence[Path]) -> Self:
        return type(self)(path, self._given, files=files)


class Images(Protocol):
    """The images of one file."""

    @property
    def count(self) -> int:
        """Return the number of images."""
        ...

    @property
    def image_shape(self) -> Shape:
        """Return the shape of each image, (H, W, C)."""
        ...

    def whole_images(self) -> int:
        """Return how many images can be read."""
        ...

    def read_image(self, position: int) -> NDArray[np.uint8]:
        """Read one image."""
        ...

    def read_into(
        self, targets: Iterator[NDArray[np.uint8]], *, first: int = 0
    ) -> Iterator[int | UnreadableImage]:
        """Fill the arrays with images, as ``StoredArray.read_into`` does."""
        ...


class Loaded:
    """Images that can only be read as a whole."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._pixels = pixels
        self.count = len(pixels)
        h, w, c = pixels.shape[1:]
        self.image_shape: Shape = (h, w, c)

    @classmethod
    def of_npz(cls, path: Path) -> Loaded:
        """Read the array ``images``; raise UnreadableImage unless it is uint8 (N, H, W, C)."""
        try:
            with open(os.open(path, READ), "rb") as file:
                about = os.fstat(file.fileno())
                if not stat.S_ISREG(about.st_mode):
                    raise UnreadableImage("path", "no plain file")
                _check_packed(file)
                with np.load(file, allow_pickle=False) as arrays:
                    images: Any = arrays["images"]
        except UnreadableImage:
            raise
        except OSError as error:
            raise unreadable(error) from None
        except Exception as error:  # zipfile, zlib and NumPy raise many kinds
            raise UnreadableImage("unreadable", f"{type(error).__name__}: {error}") from None
        check_images(images.dtype, images.shape)
        return cls(images.reshape(-1, *images.shape[-3:]))

    @classmethod
    def of_scattered(cls, path: Path, header: Header) -> Loaded:
        """Read a column-major file, in which the bytes of all images are mixed."""
        try:
            with path.open("rb", buffering=0) as file:
                if (count := math.prod(header.shape)) > os.fstat(file.fileno()).st_size - header.offset:
                    raise UnreadableImage("truncated", "the file ends early")
                flat = np.empty(count, np.uint8)
                file.seek(header.offset)
                if fill(file, flat) < flat.nbytes:
                    raise UnreadableImage("truncated", "the file ends early")
        except OSError as error:
            raise unreadable(error) from None
        return cls(flat.reshape(header.shape, order="F").reshape(-1, *header.image_shape))

    def whole_images(self) -> int:
        """Return how many images there are."""
        return self.count

    def read_image(self, position: int) -> NDArray[np.uint8]:
        """Return one image; raise UnreadableImage if there are fewer."""
        if position >= self.count:
            raise UnreadableImage(
                "changed", f"the file holds {self.count} images, not {position + 1} or more"
            )
        image: NDArray[np.uint8] = self._pixels[position]
        return image

    def read_into(
        self, targets: Iterator[NDArray[np.uint8]], *, first: int = 0
    ) -> Iterator[int | UnreadableImage]:
        """Copy the images into the arrays, as ``StoredArray.read_into`` reads them."""
        for target in targets:
            target[:] = self._pixels[first : first + len(target)]
            first += len(target)
            yield len(target)


def _check_packed(file: BinaryIO) -> None:
    """Raise UnreadableImage for an archive whose array would fill the memory: a few bytes can claim any number."""
    with zipfile.ZipFile(file) as packed:
        about = packed.getinfo("images.npy")
    if about.file_size > max(_PACKED_BYTES, _PACKED_RATIO * about.compress_size):
        raise UnreadableImage(
            "too-large", f"{about.compress_size:,} bytes that unpack to {about.file_size:,}: save it as .npy"
        )
    file.seek(0)


def _nothing(part: int, first: int, after: int, name: str, error: UnreadableImage) -> Batch:
    return Batch(make_places(part, np.array([first])), np.array([after]), [error], [name], [None])
