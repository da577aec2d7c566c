"""An opened table in Parquet, with what its footer says of each column."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from memcore.errors import MissingExtraError
from memcore.system.footer import RowGroup, read_footer

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    raise MissingExtraError("pyarrow", "audit", "Reading Parquet") from None


class ParquetTable(pq.ParquetFile):  # type: ignore[misc]  # pyarrow has no types
    """``pyarrow.parquet.ParquetFile`` of a path or an open file, whose footer is read and bounded before pyarrow reads it.

    ``groups`` are its row groups. Raises OSError if its footer is damaged, contradicts itself, or is too large, and where
    fewer rows are read than the footer says: Arrow passes over those that a damaged page leaves out.
    """

    groups: tuple[RowGroup, ...]

    def __init__(self, source: Any, **options: Any) -> None:
        self._own = pa.OSFile(os.fspath(source)) if isinstance(source, str | os.PathLike) else None
        try:
            footer = _read(source) if self._own is None else _read_once(self._own)
            self.groups = footer.groups
            super().__init__(source if self._own is None else self._own, metadata=footer.metadata, **options)
        except BaseException:
            if self._own is not None:
                self._own.close()
            raise

    def iter_batches(
        self, batch_size: int = 1 << 16, row_groups: Sequence[int] | None = None, **options: Any
    ) -> Iterator[Any]:
        """Yield the rows in batches; OSError at the end if there were too few."""
        found, groups = 0, range(len(self.groups)) if row_groups is None else row_groups
        for batch in super().iter_batches(batch_size, row_groups=groups, **options):
            found += batch.num_rows
            yield batch
        self._check_rows(found, groups)

    def read(self, columns: Sequence[str] | None = None, **options: Any) -> Any:
        """Return the whole table; OSError if it has too few rows."""
        table = super().read(columns, **options)
        self._check_rows(table.num_rows, range(len(self.groups)))
        return table

    def read_row_group(self, i: int, columns: Sequence[str] | None = None, **options: Any) -> Any:
        """Return a row group; OSError if it has too few rows."""
        table = super().read_row_group(i, columns, **options)
        self._check_rows(table.num_rows, [i])
        return table

    def _check_rows(self, found: int, groups: Sequence[int]) -> None:
        if found != (said := sum(self.groups[group].rows for group in groups)):
            raise OSError(f"it is damaged: {found:,} rows where its footer says {said:,}")

    def close(self, force: bool = False) -> None:
        """Close the file if it was opened here, or with ``force``."""
        super().close(force=force or self._own is not None)
        if self._own is not None:
            self._own.close()


class _Footer(NamedTuple):
    groups: tuple[RowGroup, ...]
    metadata: Any

    @property
    def chunks(self) -> int:
        return sum(len(group.chunks) for group in self.groups)


def _read(source: Any) -> _Footer:
    groups = read_footer(source)
    metadata = pq.read_metadata(source)
    rows = [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)]
    if [group.rows for group in groups] != rows:
        raise OSError("its footer is damaged: it says one thing to Arrow and another to memcore")
    return _Footer(groups, metadata)


#: Footers of files that were opened by their paths, as long as they describe few columns of row groups in all.
_KNOWN: dict[tuple[int, ...], _Footer] = {}
_KEPT = 1 << 16


def _read_once(file: pa.OSFile) -> _Footer:
    """Return a file's footer. A source opens its file again for each row group that it is asked for."""
    about = os.fstat(file.fileno())
    unchanged = about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns
    footer = _KNOWN.get(unchanged)
    if footer is None:
        footer = _read(file)
        if footer.chunks + sum(known.chunks for known in [*_KNOWN.values()]) > _KEPT:
            _KNOWN.clear()
        if footer.chunks <= _KEPT:
            _KNOWN[unchanged] = footer
    return footer
