"""Where training images come from: one order, resumable anywhere, and every image can be read again by its place."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError
from memcore.images import IMAGE_SUFFIXES, MAX_BYTES, UnreadableImage

#: What stands for one image: its encoded bytes, its pixels (H, W, C) uint8, or why there is neither.
Payload: TypeAlias = "bytes | NDArray[np.uint8] | UnreadableImage"
#: Where an image lies: part (a file of the source), offset and bytes in it; for rows and listings the offset counts them.
PLACE = np.dtype([("part", "<i4"), ("bytes", "<i4"), ("offset", "<i8")])
KINDS = ("images", "arrays", "tars", "parquet")


@dataclasses.dataclass(frozen=True)
class Part:
    """One file of a source, or the whole of a folder of images: ``name`` relative to the source, its size in bytes."""

    name: str
    bytes: int


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """Consecutive entries of one part. ``after[i]`` is the position in the part at which entry i + 1 begins."""

    places: NDArray[Any]
    after: NDArray[np.int64]
    payloads: Sequence[Payload] | NDArray[np.uint8]
    names: Sequence[str] | None = None
    captions: Sequence[str | None] | None = None

    def __len__(self) -> int:
        return len(self.places)


class Source(Protocol):
    """What ``build_index`` reads. A program may bring its own, as long as it is the same every time it is read."""

    kind: str
    path: str
    options: dict[str, str]

    @property
    def parts(self) -> Sequence[Part]: ...

    def identity(self) -> str:
        """Tells one state of the source from another: names and sizes, not the pixels."""
        ...

    def read(self, part: int, position: int) -> Iterator[Batch]:
        """The entries of one part from a position on (0, or an ``after`` of an earlier batch)."""
        ...

    def fetch(self, places: NDArray[Any]) -> Sequence[Payload] | NDArray[np.uint8]:
        """The entries at these places, in order; used for the few images that are compared pixel by pixel.

        Several threads may ask at once.
        """
        ...


def open_source(path: str | Path, kind: str | None = None, **options: str) -> Source:
    """The source at ``path``: a folder of images, a .tar or a folder of them (webdataset), a .parquet or a folder of them,
    an .npy or .npz file or a folder of them. ``kind`` decides where a folder holds several kinds.

    Raises ConfigError.
    """
    path = Path(path)
    if kind is not None and kind not in KINDS:
        raise ConfigError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    found = kind or _detect(path)
    unused = set(options) - {"images": set(), "arrays": {"captions"}, "tars": set()}.get(
        found, {"image_column", "caption_column"}
    )
    if unused:
        raise ConfigError(f"{', '.join(sorted(unused))} means nothing for a source of {found} ({path})")
    if found == "images":
        return FolderSource(path)
    if found == "arrays":
        return ArraySource(path, **options)
    from memcore.sources import archives

    return archives.TarSource(path) if found == "tars" else archives.ParquetSource(path, **options)


def files_of(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """``path`` itself, or the files below it with one of the suffixes, sorted by their relative names."""
    if path.is_file():
        return [path]
    found = [f for f in path.rglob("*") if f.suffix.lower() in suffixes and f.is_file()]
    return sorted(found, key=lambda f: f.relative_to(path).as_posix())


def digest_of(lines: Iterator[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()


class FileParts:
    """What sources of whole files share: each file is a part."""

    def __init__(self, path: Path, suffixes: tuple[str, ...]) -> None:
        self.path = str(path.resolve())
        self.files = files_of(path.resolve(), suffixes)
        if not self.files:
            raise ConfigError(f"{path} holds no {' or '.join(suffixes)} file")
        root = path.resolve() if path.is_dir() else path.resolve().parent
        self.parts: Sequence[Part] = [
            Part(f.relative_to(root).as_posix(), f.stat().st_size) for f in self.files
        ]

    def identity(self) -> str:
        return digest_of(f"{part.name}:{part.bytes}" for part in self.parts)

    def keep(self, chosen: Sequence[int]) -> None:
        """Leaves only some of the parts: those that an index does not hold yet."""
        self.files = [self.files[i] for i in chosen]
        self.parts = [self.parts[i] for i in chosen]


class FolderSource:
    """A folder of images, searched through; a caption stands in a .txt file of the same stem."""

    kind = "images"
    _BATCH = 256

    def __init__(self, path: Path) -> None:
        self.path = str(path.resolve())
        self.options: dict[str, str] = {}
        self.root = path.resolve()
        self.files = files_of(self.root, tuple(IMAGE_SUFFIXES))
        if not self.files:
            raise ConfigError(f"{path} holds not a single image")
        self.parts: Sequence[Part] = [Part(".", len(self.files))]

    def identity(self) -> str:
        return digest_of(f"{f.relative_to(self.root).as_posix()}:{f.stat().st_size}" for f in self.files)

    def read(self, part: int, position: int) -> Iterator[Batch]:
        for start in range(position, len(self.files), self._BATCH):
            files = self.files[start : start + self._BATCH]
            numbers = np.arange(start, start + len(files))
            places = make_places(part, numbers)
            yield Batch(
                places,
                numbers + 1,
                [_file_bytes(f) for f in files],
                [f.relative_to(self.root).as_posix() for f in files],
                [_sidecar(f) for f in files],
            )

    def fetch(self, places: NDArray[Any]) -> Sequence[Payload]:
        return [_file_bytes(self.files[int(place["offset"])]) for place in places]


class ArraySource(FileParts):
    """(N, H, W, C) uint8 in .npy files, which are mapped, or .npz files with an array ``images``, which are loaded.

    ``captions``: a text file with one line an image, in order over all files.
    """

    kind = "arrays"
    _BATCH_BYTES = 1 << 24

    def __init__(self, path: Path, captions: str = "") -> None:
        super().__init__(path, (".npy", ".npz"))
        self.options = {"captions": str(Path(captions).resolve())} if captions else {}
        self.captions = _lines(Path(captions)) if captions else None
        self._open: tuple[int, NDArray[np.uint8]] | None = None
        self._starts: list[int] = [0]
        if self.captions is not None:
            for part in range(len(self.parts)):
                self._starts.append(self._starts[-1] + len(self._array(part)))
            if self._starts[-1] != len(self.captions):
                raise ConfigError(
                    f"captions={captions} must have a line for each of {self._starts[-1]} images, "
                    f"got {len(self.captions)}"
                )

    def identity(self) -> str:
        lines = [super().identity(), *(self.captions or [])]
        return digest_of(iter(lines))

    def keep(self, chosen: Sequence[int]) -> None:
        super().keep(chosen)
        self._open = None
        if self.captions is not None:
            pieces = [self.captions[self._starts[i] : self._starts[i + 1]] for i in chosen]
            self.captions = [caption for piece in pieces for caption in piece]
            self._starts = [0, *np.cumsum([len(piece) for piece in pieces]).tolist()]

    def read(self, part: int, position: int) -> Iterator[Batch]:
        images = self._array(part)
        step = max(1, self._BATCH_BYTES // max(1, images[:1].nbytes))
        for start in range(position, len(images), step):
            numbers = np.arange(start, min(start + step, len(images)))
            captions = None
            if self.captions is not None:
                first = self._starts[part] + start
                captions = self.captions[first : first + len(numbers)]
            names = None
            if len(self.parts) > 1:
                names = [f"{self.parts[part].name}#{i}" for i in numbers]
            yield Batch(
                make_places(part, numbers),
                numbers + 1,
                np.asarray(images[start : start + step]),
                names,
                captions,
            )

    def fetch(self, places: NDArray[Any]) -> list[Payload]:
        return [np.asarray(self._array(int(p["part"]))[int(p["offset"])]) for p in places]

    def _array(self, part: int) -> NDArray[np.uint8]:
        held = self._open  # another thread may open the next one
        if held is not None and held[0] == part:
            return held[1]
        file = self.files[part]
        try:
            loaded: Any = np.load(file, mmap_mode="r", allow_pickle=False)
            images = loaded["images"] if file.suffix.lower() == ".npz" else loaded
        except (ValueError, OSError, EOFError, KeyError) as error:
            raise ConfigError(f"{file} cannot be read: {error}") from None
        if images.dtype != np.uint8 or images.ndim != 4:
            raise ConfigError(f"{file} must hold uint8 (N, H, W, C), got {images.dtype} {images.shape}")
        self._open = (part, images)
        return np.asarray(images)


def make_places(part: int, offsets: NDArray[np.int64], sizes: Any = 0) -> NDArray[Any]:
    """PLACE records of one part."""
    places = np.zeros(len(offsets), PLACE)
    places["part"], places["offset"], places["bytes"] = part, offsets, sizes
    return places


def _detect(path: Path) -> str:
    suffixes = {".tar": "tars", ".parquet": "parquet", ".npy": "arrays", ".npz": "arrays"}
    if path.is_file():
        if path.suffix.lower() in suffixes:
            return suffixes[path.suffix.lower()]
        raise ConfigError(f"{path} is no .tar, .parquet, .npy or .npz file; images are given by their folder")
    if not path.is_dir():
        raise ConfigError(f"{path} does not exist: give a folder, a .tar, .parquet, .npy or .npz file")
    kinds = {
        suffixes.get(f.suffix.lower(), "images")
        for f in path.rglob("*")
        if f.suffix.lower() in suffixes or f.suffix.lower() in IMAGE_SUFFIXES
    }
    if len(kinds) != 1:
        what = f"several kinds ({', '.join(sorted(kinds))}): choose with kind" if kinds else "nothing to read"
        raise ConfigError(f"{path} holds {what}")
    return kinds.pop()


def _file_bytes(file: Path) -> Payload:
    try:
        if (size := file.stat().st_size) > MAX_BYTES:
            return UnreadableImage("too-large", f"{size:,} bytes, at most {MAX_BYTES:,} are read")
        return file.read_bytes()
    except OSError as error:
        return UnreadableImage("unreadable", f"{type(error).__name__}: {error.strerror}")


def _sidecar(file: Path) -> str | None:
    try:
        return file.with_suffix(".txt").read_text("utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"captions={path} cannot be read: {error}") from None
