"""How often each image of a training set stands in it, where the images given are distinct."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.errors import ConfigError
from memcore.system.plain_files import load_npy, open_plain

#: The column of a Parquet file.
COLUMN = "copies"
#: What the column ``eidetic`` of a match can hold.
_MOST = np.iinfo(np.int32).max


def read_copies(path: Path) -> NDArray[Any]:
    """Return the numbers in an .npy file, or in the column ``copies`` of a Parquet file. Raises ConfigError."""
    try:
        return _of_parquet(path) if path.suffix.lower() == ".parquet" else np.asarray(load_npy(path))
    except (OSError, ValueError, EOFError, OverflowError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"copies={path} cannot be read: {error}") from None


def _of_parquet(path: Path) -> NDArray[Any]:
    import pyarrow

    from memcore.system.claims import check_listed
    from memcore.system.parquet import ParquetTable

    try:
        with (
            open_plain(path) as file,  # a pipe would keep its reader waiting
            ParquetTable(file, pre_buffer=False) as table,
        ):
            names = table.schema_arrow.names
            if COLUMN not in names:
                raise ConfigError(
                    f"copies={path} has no column {COLUMN!r}; its columns are {', '.join(names)}"
                )
            check_listed(table, file, [COLUMN])
            return np.asarray(table.read([COLUMN], use_threads=False)[COLUMN].to_numpy())
    except pyarrow.ArrowException as error:
        raise ValueError(str(error)) from None


def check_copies(copies: NDArray[Any], images: int) -> NDArray[np.int64]:
    """Return the numbers as int64. Raises ConfigError unless they are integers of at least 1, one for each image."""
    if copies.ndim != 1 or not np.issubdtype(copies.dtype, np.integer):
        raise ConfigError(
            f"copies must be one whole number for each training image, got {copies.dtype} {copies.shape}"
        )
    if len(copies) != images:
        raise ConfigError(
            f"copies has {len(copies)} numbers, but {images} training images are compared: give one for each of these, "
            "in their order"
        )
    if images and int(copies.min()) < 1:
        raise ConfigError(
            f"copies must be at least 1, got {int(copies.min())}: each image stands there once or more"
        )
    if sum(copies.tolist()) > _MOST:
        raise ConfigError(f"copies must sum to at most {_MOST}, got {sum(copies.tolist())}")
    return copies.astype(np.int64)


def count_within(within: NDArray[np.bool_], copies: NDArray[np.int64] | None) -> int:
    """Return how many training images are marked, each as often as it is in the training set."""
    return int(within.sum()) if copies is None else int(copies[within].sum())
