"""What stored files hold, told cheaply: a file's size, when it was changed, and a digest of blocks spread over it.

Small files are digested whole. Of a larger one, blocks of 4 KiB are, at equal distances, the first and the last among
them: other pictures in its place differ in them, whatever size and times they were given. docs/formats.md says what is
noticed and what it costs.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from memcore.sources.walk import READ

#: Bytes of a block.
BLOCK_BYTES = 4096
#: Blocks of each file: many of a few large files, few of many; and of all files, unless they are many.
LEAST_BLOCKS, MOST_BLOCKS, ALL_BLOCKS = 8, 4096, 4096
#: Bytes of a digest: half a sha256.
SAMPLE_BYTES = 16
_PIECE = 1 << 20


class FileContent(NamedTuple):
    """A file when it was read: its size, its time of change (ns since 1970), and the digest of its blocks.

    The digest is empty for what cannot be opened, or is no plain file.
    """

    size: int
    modified: int
    sample: bytes


def count_blocks(files: int) -> int:
    """Return how many blocks of each of these files are digested.

    >>> [count_blocks(n) for n in (1, 16, 1_000, 20_000)]
    [4096, 256, 8, 8]
    """
    return max(LEAST_BLOCKS, min(MOST_BLOCKS, ALL_BLOCKS // max(1, files)))


def read_content(path: str | Path, blocks: int = LEAST_BLOCKS) -> FileContent:
    """Return what a file holds, by ``blocks`` blocks of it; a file of no more than these is read whole."""
    try:
        descriptor = os.open(path, READ)
    except OSError:
        return _closed(path)
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            return FileContent(0, 0, b"")
        return FileContent(about.st_size, about.st_mtime_ns, _sample(descriptor, about.st_size, blocks))
    except OSError:
        return _closed(path)
    finally:
        os.close(descriptor)


def sample_bytes(data: bytes, blocks: int = LEAST_BLOCKS) -> bytes:
    """Return the digest that ``read_content`` makes of a file with this content.

    >>> len(sample_bytes(b"abc")), sample_bytes(b"abc") == sample_bytes(b"abd")
    (16, False)
    """
    held = memoryview(data)
    if len(held) <= blocks * BLOCK_BYTES:
        return hashlib.sha256(held).digest()[:SAMPLE_BYTES]
    digest = hashlib.sha256()
    for start in _starts(len(held), blocks):
        digest.update(held[start : start + BLOCK_BYTES])
    return digest.digest()[:SAMPLE_BYTES]


def digest_files(named: Iterable[tuple[str, str]], blocks: int) -> str:
    """Return one sha256 of files, given as pairs of a path and the name that stands for it."""
    digest = hashlib.sha256()
    for path, name in named:
        found = read_content(path, blocks)
        digest.update(os.fsencode(name) + b"\0%d:" % found.size + found.sample)
    return digest.hexdigest()


def _sample(descriptor: int, size: int, blocks: int) -> bytes:
    digest = hashlib.sha256()
    if size > blocks * BLOCK_BYTES:
        for start in _starts(size, blocks):
            digest.update(os.pread(descriptor, BLOCK_BYTES, start))
    else:
        left = size
        while left > 0 and (piece := os.read(descriptor, min(left, _PIECE))):
            digest.update(piece)
            left -= len(piece)
    return digest.digest()[:SAMPLE_BYTES]


def _starts(size: int, blocks: int) -> list[int]:
    """Return where the blocks of a file begin that is larger than they are: the first at 0, the last at its end."""
    span = size - BLOCK_BYTES
    return [span * i // (blocks - 1) for i in range(blocks)]


def _closed(path: str | Path) -> FileContent:
    """Return what is known of a file that cannot be read."""
    try:
        about = os.stat(path)
    except OSError:
        return FileContent(0, 0, b"")
    return FileContent(about.st_size, about.st_mtime_ns, b"")
