"""A file that grows: what was appended survives a kill at once, and a power cut once it was synced."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from memcore.errors import StoreError
from memcore.system import atomic_files
from memcore.system.atomic_files import Bytes


class AppendedFile:
    """A new or emptied file, to whose end data are written. Its errors are StoreError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._new = True
        atomic_files.make_folders(path.parent)
        try:
            self._descriptor = atomic_files.disk.create(path)
        except OSError as error:
            raise self._error(error) from error

    def write(self, pieces: Sequence[Bytes]) -> None:
        """Append the pieces. A kill in between leaves a part of them."""
        try:
            for piece in pieces:
                left = memoryview(piece).cast("B")
                while left:
                    left = left[atomic_files.disk.write(self._descriptor, left) :]
        except OSError as error:
            raise self._error(error) from error

    def sync(self) -> None:
        """Bring what was written to the disk, so that it survives a power cut."""
        try:
            atomic_files.disk.sync(self._descriptor)
            if self._new:
                atomic_files.disk.sync_folder(self._path.parent)
                self._new = False
        except OSError as error:
            raise self._error(error) from error

    def close(self) -> None:
        """Close the file."""
        try:
            atomic_files.disk.close(self._descriptor)
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> StoreError:
        return StoreError(f"{self._path} cannot be written: {error.strerror or error}")
