"""Open the storage that a path or a URL names."""

from __future__ import annotations

from pathlib import Path

from memcore.storage.base import Storage
from memcore.storage.local import LocalStorage


def open_storage(place: str | Path) -> Storage:
    """Open the storage at a path, or at a URL such as ``s3://bucket/run``.

    >>> open_storage("runs/first").place
    'runs/first'
    """
    if is_url(place):
        from memcore.storage.remote import ObjectStorage

        return ObjectStorage(str(place))
    return LocalStorage(Path(place))


def is_url(place: str | Path) -> bool:
    """Return whether the place is named by a URL and not by a path."""
    return "://" in str(place)
