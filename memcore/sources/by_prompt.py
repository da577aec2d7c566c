"""Generations on disk as a filter reads them: prompt by prompt, through memory that all prompts share."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from memcore.images import Background, UnreadableImage, decoder_versions
from memcore.images.resize import Resize
from memcore.sources.base import quarantined
from memcore.sources.buffers import Buffers
from memcore.sources.chunks import Batch, Chunk, Pixels
from memcore.sources.common_shape import common_shape
from memcore.sources.content import count_blocks, digest_files
from memcore.sources.coverage import count_reasons
from memcore.sources.decoded import IN_FLIGHT_BYTES
from memcore.sources.entries import QuarantineEntry
from memcore.sources.find_prompts import find_prompts
from memcore.sources.inline_pool import Done, InlinePool
from memcore.sources.item_decoder import ItemDecoder
from memcore.sources.layouts import (
    LISTING,
    ArrayPrompts,
    Collection,
    FolderPrompt,
    Item,
    PackedPrompts,
    check_listing,
)
from memcore.sources.npy_file import ReadsItself, Shape, StoredArray
from memcore.sources.resized import ResizedArray

Timer: TypeAlias = contextlib.AbstractContextManager[None]

#: Bytes of one prompt's decoded images that are kept; of a larger prompt, those that are compared are decoded again.
KEPT_BYTES = 2 << 30


class Graph(ReadsItself, Protocol):
    """The part of a ``PromptGraph`` that is used here."""

    def next_slot(self) -> NDArray[np.uint8] | None:
        """Return the array that the next image can be read into, or None if images are not kept."""
        ...

    def extend(self, images: Any, *, exclude: NDArray[np.bool_] | None = None) -> None:
        """Add images, in order; those in ``exclude`` count but get no edges."""
        ...

    def extend_one(self, image: NDArray[np.uint8]) -> bool:
        """Add one image; return False if it is constant and therefore excluded."""
        ...


class StoredPrompts:
    """The prompts in ``path``, each with its images.

    ``path`` is a folder with an .npy file (N, H, W, C) or a folder of images per prompt; a folder of images; one .npy file,
    (P, N, H, W, C) for P prompts; tar archives as of webdataset; or Parquet files.

    docs/formats.md says how prompts and seeds are named in each. ``shape`` (H, W, C) is what every image must have; by
    default the most common shape among the first images. With ``resize`` each image is brought to its size instead.
    ``background`` is the colour under transparent pixels. ``threads`` decode while the caller compares.

    Raises ConfigError if ``path`` holds nothing that can be read, or two layouts at once.
    """

    def __init__(
        self,
        path: Path,
        *,
        shape: Shape | None = None,
        background: Background | None = None,
        resize: Resize | None = None,
        threads: int = 1,
    ) -> None:
        self.path = path
        self.threads = threads
        self._resize = resize
        self._collections, self.left_out = find_prompts(path)
        self._where = [(c, i) for c in self._collections for i in range(len(c.prompts))]
        names = [name for c in self._collections for name in c.prompts]
        listing = path / LISTING if path.is_dir() else path.with_suffix(".txt")
        listed = check_listing(listing, len(names), path)
        self.prompts: list[str] = listed or names
        self._texts = int(listed is not None)
        self.image_shape = shape or common_shape(path, self._where, background)
        if resize is not None:
            self.image_shape = resize.height, resize.width, self.image_shape[2]
        several = threads > 1 and not isinstance(self._collections[0], ArrayPrompts)
        self._buffers = Buffers(self.image_shape, decoded_together=several)
        self._decoder = ItemDecoder(self.image_shape, resize, background)
        #: A prompt whose decoded images are not kept, and its usable images, in order: some are decoded again.
        self._let_go: tuple[int, list[Item]] = (-1, [])

    def __repr__(self) -> str:
        """Return one line."""
        shape = "x".join(map(str, self.image_shape))
        return f"StoredPrompts({str(self.path)!r}, prompts={len(self.prompts)}, image_shape={shape})"

    @property
    def fingerprint(self) -> str:
        """Return the sha256 of what all files hold, of their names in the set, and of the names of the decoders.

        What the set's own folder is called, where it is, and when files were changed does not count.
        """
        decoders = [version.split()[0] for version in decoder_versions().values()]
        digest = hashlib.sha256(f"{' '.join(decoders)} {self._content}".encode())
        return f"stored:{digest.hexdigest()}"

    @functools.cached_property
    def _content(self) -> str:
        """Return the sha256 of the names and the content of all files."""
        named = [pair for collection in self._collections for pair in collection.stored()]
        return digest_files(named, count_blocks(len(named)))

    def describe(self) -> dict[str, str]:
        """Return what a run records of its source."""
        h, w, c = self.image_shape
        decoders = {f"decoder.{kind}": version for kind, version in decoder_versions().items()}
        return {
            "kind": "stored generations",
            "prompts": str(len(self._where)),
            "image_shape": f"{h}x{w}x{c}",
            "content of the files": self._content[:16],
            **decoders,
            "pointed_at": str(self.pointed_at()),
            "texts": str(self.texts),
            "left_out": json.dumps(dict(sorted(count_reasons(self.left_out).items()))),
        }

    @property
    def texts(self) -> int:
        """Return how many texts were used: captions in archives, and the list of prompts."""
        return self._texts + sum(c.texts for c in self._collections if isinstance(c, PackedPrompts))

    def pointed_at(self) -> int:
        """Return the number of files, members, rows and images at the path."""
        total = self._texts + len(self.left_out)
        for collection in self._collections:
            if isinstance(collection, PackedPrompts):
                total += collection.pointed_at
            elif isinstance(collection, ArrayPrompts):
                total += _images_of(collection)
            elif isinstance(collection, FolderPrompt):
                total += collection.size()
        return total

    def count(self, prompt_id: int) -> int:
        """Return the number of the prompt's images, broken ones included; 0 if its file cannot be read."""
        collection, index = self._where[prompt_id]
        if not isinstance(collection, ArrayPrompts):
            return collection.count(index)
        try:
            return collection.header().images
        except UnreadableImage:
            return 0

    def images_in(self, prompt_id: int) -> dict[str, Any]:
        """Return a ``PromptGraph``'s arguments for the prompt's images: ``buffer`` and, if they are read again, ``reread``.

        Reading an array's bytes twice costs less than moving all of them to memory and back. A prompt that fits into the
        cache, encoded images and a column-major array are read once; of encoded images that need more than ``KEPT_BYTES``
        decoded, those that are compared are decoded again.
        """
        source, index = self._where[prompt_id]
        if isinstance(source, ArrayPrompts):
            with contextlib.suppress(UnreadableImage):
                array = self._array(source, index)
                if self._may_let_go(array):
                    return {"reread": array.read_again, "buffer": self.buffer(self._buffers.again)}
        count = self.count(prompt_id)
        if not isinstance(source, ArrayPrompts) and count * int(np.prod(self.image_shape)) > KEPT_BYTES:
            usable: list[Item] = []
            self._let_go = prompt_id, usable
            again = functools.partial(self._decoder.decode_again, usable)
            return {"reread": again, "buffer": self.buffer(self._buffers.again)}
        return {"buffer": self.buffer(count)}

    def feed(
        self,
        prompt_id: int,
        graph: Graph,
        timed: Callable[[str], Timer] = lambda stage: contextlib.nullcontext(),
    ) -> Iterator[tuple[list[int], list[QuarantineEntry]]]:
        """Add the prompt's images to ``graph``, which was made with ``images_in``.

        Yields their seeds and what could not be read, a few at a time. ``timed`` times each stage, "sample" or "graph".
        Large arrays, and encoded images in a single thread, are compared as they are read, which counts as "sample".
        """
        source, index = self._where[prompt_id]
        array: StoredArray | ResizedArray | None = None
        if isinstance(source, ArrayPrompts):
            with contextlib.suppress(UnreadableImage):
                array = self._array(source, index)
        elif self.threads == 1 and graph.next_slot() is not None:
            yield from self._feed_items(source.items(index), graph, timed)
            return
        if (
            not isinstance(source, ArrayPrompts)
            or not isinstance(array, StoredArray)
            or not self._may_let_go(array)
        ):
            yield from self._feed_batches(prompt_id, graph, timed)
            return
        done = 0
        parts = array.feed(graph, self._buffers.fed)
        while True:
            with timed("sample"):
                got = next(parts, None)
            if got is None:
                return
            if isinstance(got, UnreadableImage):
                yield [], [quarantined(source.label(done, array.count), got)]
            else:
                yield list(range(done, done + got)), []
                done += got

    def _feed_items(
        self, items: Iterator[Item], graph: Graph, timed: Callable[[str], Timer]
    ) -> Iterator[tuple[list[int], list[QuarantineEntry]]]:
        """Compare each image as soon as it is decoded, while it is in the cache."""
        step = self._buffers.decoded
        slot = self._buffers.slot
        while part := list(itertools.islice(items, step)):
            seeds: list[int] = []
            broken: list[QuarantineEntry] = []
            with timed("sample"):
                for item in part:
                    try:
                        image = self._decoder.pixels(item, slot, anywhere=True)
                    except UnreadableImage as error:
                        broken.append(quarantined(item.source, error))
                    else:
                        graph.extend_one(image)
                        seeds.append(item.seed)
            yield seeds, broken

    def _feed_batches(
        self, prompt_id: int, graph: Graph, timed: Callable[[str], Timer]
    ) -> Iterator[tuple[list[int], list[QuarantineEntry]]]:
        batches = self.read(prompt_id)
        while True:
            with timed("sample"):
                batch = next(batches, None)
            if batch is None:
                return
            pixels, seeds, flagged, broken = batch
            if seeds:
                with timed("graph"):
                    graph.extend(pixels, exclude=flagged)
            yield seeds, broken

    def label(self, prompt_id: int) -> str:
        """Return the name of the prompt's file, for people."""
        source, _ = self._where[prompt_id]
        return source.label() if isinstance(source, ArrayPrompts) else self.prompts[prompt_id]

    def buffer(self, count: int) -> Pixels:
        """Return the buffer (>= count, H, W, C) that every prompt is read into, enlarged if it is too small."""
        return self._buffers.whole(count)

    def read(self, prompt_id: int) -> Iterator[Batch]:
        """Yield the prompt's images in order, a few at a time.

        If they can be read again (``images_in``), a batch's pixels are valid until the next batch is requested. Otherwise
        those of images that are not constant are consecutive in ``buffer(count(prompt_id))``, from its start, and stay
        there until the next prompt is read; those of constant ones do not.
        """
        collection, index = self._where[prompt_id]
        if isinstance(collection, ArrayPrompts):
            yield from self._read_array(collection, index)
        else:
            usable = self._let_go[1] if self._let_go[0] == prompt_id else None
            yield from self._read_items(collection, index, usable)

    def _array(self, array: ArrayPrompts, index: int) -> StoredArray | ResizedArray:
        header = array.header()
        stored = StoredArray(array.path, header, index)
        if header.image_shape != self.image_shape:
            if self._resize is not None and header.image_shape[2] == self.image_shape[2]:
                return ResizedArray(stored, self._resize)
            raise UnreadableImage(
                "wrong-size", f"images of {header.image_shape} where {self.image_shape} is expected"
            )
        return stored

    def _name_of(self, source: ArrayPrompts) -> str:
        """Return the name of a file that is refused, with its range of images if its header can be read."""
        try:
            return source.label(0, source.header().images)
        except UnreadableImage:
            return source.label()

    def _may_let_go(self, array: StoredArray | ResizedArray) -> bool:
        return not array.scattered and array.count > self._buffers.chunk

    def _read_array(self, source: ArrayPrompts, index: int) -> Iterator[Batch]:
        try:
            array = self._array(source, index)
        except UnreadableImage as error:
            yield self._nothing([quarantined(self._name_of(source), error)])
            return
        let_go = self._may_let_go(array)
        step = self._buffers.few(self.threads) if let_go else self._buffers.chunk
        buffer = self._buffers.window(step) if let_go else self.buffer(array.count)
        used = done = 0

        def targets() -> Iterator[Pixels]:
            while done < array.count:
                yield buffer[used : used + min(step, array.count - done)]

        for got in array.read_into(targets()):
            if isinstance(got, UnreadableImage):
                yield self._nothing([quarantined(source.label(done, array.count), got)])
                return
            chunk = Chunk(buffer[used : used + got], list(range(done, done + got)), [None] * got)
            used += 0 if let_go else len(chunk.pixels)
            done += got
            yield from chunk.batches()

    def _read_items(self, collection: Collection, index: int, usable: list[Item] | None) -> Iterator[Batch]:
        """Yield a prompt's images; those that are not kept are listed in ``usable``."""
        items = collection.items(index)
        used = 0
        step = max(self._buffers.decoded, 4 * self.threads if self.threads > 1 else 1)
        if usable is not None:
            step = min(step, self._buffers.fit(IN_FLIGHT_BYTES // 4))
        buffer = self.buffer(collection.count(index)) if usable is None else self._buffers.window(2 * step)

        def start() -> list[tuple[Item, Done | Future[QuarantineEntry | None]]]:
            part = list(itertools.islice(items, step))
            slots = buffer[used : used + len(part)]
            return [
                (item, pool.submit(self._decoder.decode, item, slot))
                for item, slot in zip(part, slots, strict=True)
            ]

        with ThreadPoolExecutor(self.threads) if self.threads > 1 else InlinePool() as pool:
            coming = start()
            while coming:
                seeds = [item.seed for item, _ in coming]
                broken = [future.result() for _, future in coming]
                chunk = Chunk(buffer[used : used + len(coming)], seeds, broken)
                if usable is None:
                    used += len(chunk.pixels)
                else:  # into the other half, while this one is compared
                    usable += [item for (item, _), wrong in zip(coming, broken, strict=True) if wrong is None]
                    used = step - used
                if self.threads > 1:
                    coming = start()  # decoded while the caller compares this chunk
                yield from chunk.batches()
                if self.threads == 1:
                    coming = start()  # not before: this chunk would have left the cache

    def _nothing(self, broken: list[QuarantineEntry]) -> Batch:
        return np.empty((0, *self.image_shape), np.uint8), [], np.empty(0, np.bool_), broken


def _images_of(array: ArrayPrompts) -> int:
    """Return the number of images in an array's header; a file that is refused as a whole counts as one."""
    try:
        header = array.header()
    except UnreadableImage:
        return 1
    return header.images * header.prompts
