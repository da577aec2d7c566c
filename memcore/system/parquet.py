"""An opened table in Parquet, with what its footer says of each column."""

from __future__ import annotations

import functools
import os
from typing import Any

from memcore.errors import MissingExtraError
from memcore.system.footer import RowGroup, read_footer

try:
    import pyarrow.parquet as pq
except ImportError:
    raise MissingExtraError("pyarrow", "audit", "Reading Parquet") from None


class ParquetTable(pq.ParquetFile):  # type: ignore[misc]  # pyarrow has no types
    """``pyarrow.parquet.ParquetFile`` of a path or an open file, whose footer is read without pyarrow too."""

    def __init__(self, source: Any, **options: Any) -> None:
        super().__init__(source, **options)
        self._source = source

    @functools.cached_property
    def groups(self) -> tuple[RowGroup, ...]:
        """The row groups. OSError if the footer is damaged: Arrow may have found nothing wrong with it."""
        of_path = isinstance(self._source, str | os.PathLike)
        groups = _read_at(os.fspath(self._source)) if of_path else read_footer(self._source)
        metadata = self.metadata
        rows = [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)]
        if [group.rows for group in groups] != rows or any(
            len(g.chunks) != metadata.num_columns for g in groups
        ):
            raise OSError("its footer is damaged: it says one thing to Arrow and another to memcore")
        return groups


def _read_at(path: str | bytes) -> tuple[RowGroup, ...]:
    about = os.stat(path)
    return _read_once(path, about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)


@functools.lru_cache(maxsize=4)  # a source opens its file again for each row group that it is asked for
def _read_once(path: str | bytes, *_unchanged: int) -> tuple[RowGroup, ...]:
    with open(path, "rb") as opened:
        return read_footer(opened)
