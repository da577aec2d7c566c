"""Generations on disk as a filter reads them: prompt by prompt, through memory that all prompts share."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError
from memcore.images import Background, UnreadableImage, decode, decoder_versions
from memcore.sources.base import QuarantineEntry, quarantined, shown
from memcore.sources.chunks import Batch, Chunk, Pixels, pages
from memcore.sources.content import count_blocks, digest_files
from memcore.sources.coverage import count_reasons
from memcore.sources.layouts import (
    LISTING,
    ArrayPrompts,
    Collection,
    FolderPrompt,
    Item,
    PackedPrompts,
    check_listing,
    find_prompts,
)
from memcore.sources.npy_file import ReadsItself, Shape, StoredArray

Timer: TypeAlias = contextlib.AbstractContextManager[None]

#: Bytes of images that are read before they are looked at: they are then still in the cache.
CHUNK_BYTES = 8 << 20
#: Bytes of images that are read at a time if they are not kept: few enough for the next ones to overwrite them in the cache.
WINDOW_BYTES = 4 << 20
#: Bytes of images that are decoded before they are looked at: with fewer, the overhead of each chunk shows.
DECODED_BYTES = 16 << 20
#: Bytes that are read between two reports of progress: about 50 ms. Memory for one image is allocated and freed each time.
FEED_BYTES = 256 << 20
#: Memory for images that are read again; most prompts need no more.
AGAIN_BYTES = 64 << 20
#: Offset from a page's beginning of the memory that images are decoded into: see ``pages``.
_BEHIND = 16
#: Images looked at to learn the set's size: the most common one counts, whatever the first image is.
_LOOKED_AT, _OF_EACH = 25, 5


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
    default the most common shape among the first images. ``background`` is the colour under transparent pixels. ``threads``
    decode while the caller compares.

    Raises ConfigError if ``path`` holds nothing that can be read, or two layouts at once.
    """

    def __init__(
        self,
        path: Path,
        *,
        shape: Shape | None = None,
        background: Background | None = None,
        threads: int = 1,
    ) -> None:
        self.path = path
        self.threads = threads
        self._background = background
        self._collections, self.left_out = find_prompts(path)
        self._where = [(c, i) for c in self._collections for i in range(len(c.prompts))]
        names = [name for c in self._collections for name in c.prompts]
        listing = path / LISTING if path.is_dir() else path.with_suffix(".txt")
        listed = check_listing(listing, len(names), path)
        self.prompts: list[str] = listed or names
        self._texts = int(listed is not None)
        self.image_shape = shape or self._common_shape()
        self._buffer = pages((0, *self.image_shape))
        self._window = self._buffer
        #: The buffer of a single thread: an image decoded into it stays in the cache until it is compared and copied.
        self._slot = pages((1, *self.image_shape), behind=_BEHIND)[0]

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
        cache, an encoded image and a column-major array are read once.
        """
        source, index = self._where[prompt_id]
        if isinstance(source, ArrayPrompts):
            with contextlib.suppress(UnreadableImage):
                array = self._array(source, index)
                if self._may_let_go(array):
                    return {"reread": array.read_again, "buffer": self.buffer(self._again)}
        return {"buffer": self.buffer(self.count(prompt_id))}

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
        array: StoredArray | None = None
        if isinstance(source, ArrayPrompts):
            with contextlib.suppress(UnreadableImage):
                array = self._array(source, index)
        elif self.threads == 1 and graph.next_slot() is not None:
            yield from self._feed_items(source.items(index), graph, timed)
            return
        if array is None or not isinstance(source, ArrayPrompts) or not self._may_let_go(array):
            yield from self._feed_batches(prompt_id, graph, timed)
            return
        done = 0
        parts = array.feed(graph, max(1, FEED_BYTES // int(np.prod(self.image_shape))))
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
        step = max(1, DECODED_BYTES // int(np.prod(self.image_shape)))
        slot = self._slot
        while part := list(itertools.islice(items, step)):
            seeds: list[int] = []
            broken: list[QuarantineEntry] = []
            with timed("sample"):
                for item in part:
                    try:
                        image = self._pixels(item, slot, anywhere=True)
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
        if len(self._buffer) < count:
            self._buffer = pages((0, *self.image_shape))  # never two at once
            several = self.threads > 1 and not isinstance(self._collections[0], ArrayPrompts)
            self._buffer = pages((count, *self.image_shape), behind=_BEHIND if several else 0)
        return self._buffer

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
            yield from self._read_items(collection, index)

    def _array(self, array: ArrayPrompts, index: int) -> StoredArray:
        header = array.header()
        if header.image_shape != self.image_shape:
            raise UnreadableImage(
                "wrong-size", f"images of {header.image_shape} where {self.image_shape} is expected"
            )
        return StoredArray(array.path, header, index)

    def _name_of(self, source: ArrayPrompts) -> str:
        """Return the name of a file that is refused, with its range of images if its header can be read."""
        try:
            return source.label(0, source.header().images)
        except UnreadableImage:
            return source.label()

    def _may_let_go(self, array: StoredArray) -> bool:
        return not array.scattered and array.count > self._chunk

    def _read_array(self, source: ArrayPrompts, index: int) -> Iterator[Batch]:
        try:
            array = self._array(source, index)
        except UnreadableImage as error:
            yield self._nothing([quarantined(self._name_of(source), error)])
            return
        let_go = self._may_let_go(array)
        step = self._few if let_go else self._chunk
        buffer = self._small_buffer(step) if let_go else self.buffer(array.count)
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

    def _read_items(self, collection: Collection, index: int) -> Iterator[Batch]:
        buffer = self.buffer(collection.count(index))
        items = collection.items(index)
        used = 0
        step = max(
            1, DECODED_BYTES // int(np.prod(self.image_shape)), 4 * self.threads if self.threads > 1 else 1
        )

        def start() -> list[tuple[Item, _Done | Future[QuarantineEntry | None]]]:
            part = list(itertools.islice(items, step))
            slots = buffer[used : used + len(part)]
            return [
                (item, pool.submit(self._decode, item, slot)) for item, slot in zip(part, slots, strict=True)
            ]

        with ThreadPoolExecutor(self.threads) if self.threads > 1 else _Inline() as pool:
            coming = start()
            while coming:
                seeds = [item.seed for item, _ in coming]
                broken = [future.result() for _, future in coming]
                chunk = Chunk(buffer[used : used + len(coming)], seeds, broken)
                used += len(chunk.pixels)
                if self.threads > 1:
                    coming = start()  # decoded while the caller compares this chunk
                yield from chunk.batches()
                if self.threads == 1:
                    coming = start()  # not before: this chunk would have left the cache

    def _decode(self, item: Item, slot: Pixels) -> QuarantineEntry | None:
        """Decode an image into ``slot``; return its quarantine entry if it cannot be read."""
        try:
            self._pixels(item, slot, anywhere=False)
        except UnreadableImage as error:
            return quarantined(item.source, error)
        return None

    def _pixels(self, item: Item, slot: Pixels, *, anywhere: bool) -> Pixels:
        """Decode an image into ``slot``, or ``anywhere`` else if that saves a copy."""
        content = item.read()
        if not isinstance(content, np.ndarray):
            return decode(
                content, shape=self.image_shape, background=self._background, out=slot, anywhere=anywhere
            )
        if content.shape != self.image_shape:
            raise UnreadableImage("wrong-size", f"{content.shape} where {self.image_shape} is expected")
        slot[:] = content
        return slot

    @property
    def _chunk(self) -> int:
        return max(1, CHUNK_BYTES // int(np.prod(self.image_shape)))

    @property
    def _again(self) -> int:
        return max(1, AGAIN_BYTES // int(np.prod(self.image_shape)))

    @property
    def _few(self) -> int:
        """Return how many images are read at a time if they are not kept: a few for each thread."""
        return max(1, WINDOW_BYTES // int(np.prod(self.image_shape))) * self.threads

    def _small_buffer(self, count: int) -> Pixels:
        if len(self._window) < count:
            self._window = pages((count, *self.image_shape))
        return self._window

    def _nothing(self, broken: list[QuarantineEntry]) -> Batch:
        return np.empty((0, *self.image_shape), np.uint8), [], np.empty(0, np.bool_), broken

    def _common_shape(self) -> Shape:
        shapes: Counter[Shape] = Counter()
        for shape in itertools.islice(self._shapes(), _LOOKED_AT):
            shapes[shape] += 1
        if not shapes:
            raise ConfigError(
                f"images={shown(self.path)} holds not one readable image{self._first_refusal()}"
            )
        return shapes.most_common(1)[0][0]

    def _first_refusal(self) -> str:
        """Return why the first image is refused, as the end of a message."""
        for collection, index in self._where:
            try:
                if isinstance(collection, ArrayPrompts):
                    name = collection.label()
                    collection.header()
                    continue
                for item in itertools.islice(collection.items(index), 1):
                    name = item.source
                    content = item.read()
                    if not isinstance(content, np.ndarray):
                        decode(content, background=self._background or (0, 0, 0))
            except UnreadableImage as error:
                return f": {name} is refused ({error.reason}: {error})"
        return ""

    def _shapes(self) -> Iterator[Shape]:
        """Yield the sizes of the first images that can be read, a few of each prompt."""
        for collection, index in self._where:
            if isinstance(collection, ArrayPrompts):
                with contextlib.suppress(UnreadableImage):
                    yield collection.header().image_shape
                continue
            for item in itertools.islice(collection.items(index), _OF_EACH):
                with contextlib.suppress(UnreadableImage):
                    content = item.read()
                    if not isinstance(content, np.ndarray):
                        content = decode(content, background=self._background or (0, 0, 0))
                    h, w, c = content.shape
                    yield h, w, c


def _images_of(array: ArrayPrompts) -> int:
    """Return the number of images in an array's header; a file that is refused as a whole counts as one."""
    try:
        header = array.header()
    except UnreadableImage:
        return 1
    return header.images * header.prompts


class _Done:
    """The result of finished work. A Future takes longer to make than a small file takes to read."""

    __slots__ = ("_value",)

    def __init__(self, value: QuarantineEntry | None) -> None:
        self._value = value

    def result(self) -> QuarantineEntry | None:
        return self._value


class _Inline:
    """A pool without threads: work is done when it is submitted."""

    def __enter__(self) -> _Inline:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def submit(
        self, work: Callable[[Item, Pixels], QuarantineEntry | None], item: Item, slot: Pixels
    ) -> _Done:
        return _Done(work(item, slot))
