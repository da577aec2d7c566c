"""The columns of a run's files, and how tables and pictures become bytes. docs/formats.md describes them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.errors import MissingExtraError

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError:
    raise MissingExtraError("pyarrow", "audit", "A run folder") from None

_CLIQUE = pa.struct(
    [
        ("seeds", pa.list_(pa.int64())),
        ("mean_distance", pa.float64()),
        ("medoid_seed", pa.int64()),
        ("proven", pa.bool_()),
        ("upper", pa.int32()),
    ]
)
_PAIRS = pa.list_(pa.struct([("i", pa.int32()), ("j", pa.int32()), ("ssd", pa.uint64())]))
FINDINGS = pa.schema(
    [
        ("prompt_id", pa.int64()),
        ("prompt", pa.string()),
        ("status", pa.string()),
        ("generated", pa.int32()),
        ("excluded", pa.int32()),
        ("edges", pa.int64()),
        ("size", pa.int32()),
        ("mean_distance", pa.float64()),
        ("medoid_seed", pa.int64()),
        ("seeds", pa.list_(pa.int64())),
        ("proven", pa.bool_()),
        ("upper", pa.int32()),
        ("cliques", pa.list_(_CLIQUE)),
        ("stop", pa.string()),
        ("noise_magnitude", pa.float64()),
        ("one_step", pa.float64()),
        ("tile_bytes", pa.int64()),
        ("pairs", _PAIRS),
        ("reason", pa.string()),
    ]
)
QUARANTINE = pa.schema(
    [("prompt_id", pa.int64()), ("source", pa.string()), ("reason", pa.string()), ("detail", pa.string())]
)
MATCHES = pa.schema(
    [
        ("prompt_id", pa.int64()),
        ("clique", pa.int32()),
        ("size", pa.int32()),
        ("mean_distance", pa.float64()),
        ("medoid_seed", pa.int64()),
        ("training_index", pa.int64()),
        ("training_name", pa.string()),
        ("l2", pa.float64()),
        ("tiled_l2", pa.float64()),
        ("extracted", pa.bool_()),
        ("copies", pa.int32()),
        ("eidetic", pa.int32()),
        (
            "neighbors",
            pa.list_(pa.struct([("index", pa.int64()), ("name", pa.string()), ("l2", pa.float64())])),
        ),
        ("adaptive", pa.float64()),
        ("members_extracted", pa.int32()),
        ("closest_seed", pa.int64()),
        ("closest_index", pa.int64()),
        ("closest_name", pa.string()),
        ("closest_distance", pa.float64()),
    ]
)


def pairs_array(edges: NDArray[np.int32], ssd: NDArray[Any]) -> pa.Array:
    """(E, 2), (E,) -> a row's pairs in 16 bytes each. As Python objects they take 20 times as much, and a shard of 1,000
    prompts may have 100 million."""
    columns = [pa.array(edges[:, 0]), pa.array(edges[:, 1]), pa.array(ssd.astype(np.uint64, copy=False))]
    return pa.StructArray.from_arrays(columns, fields=list(_PAIRS.value_type))


def table_of_rows(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as a table of ``FINDINGS``; pairs are None, a list as of ``to_pylist``, or what ``pairs_array`` made."""
    table = pa.Table.from_pylist([{**row, "pairs": None} for row in rows], schema=FINDINGS)
    pairs = [row.get("pairs") for row in rows]
    if not any(p is not None for p in pairs):
        return table
    parts = [
        p if isinstance(p, pa.Array) else pa.array([] if p is None else p, type=_PAIRS.value_type)
        for p in pairs
    ]
    offsets = np.zeros(len(parts) + 1, dtype=np.int32)
    np.cumsum([len(p) for p in parts], out=offsets[1:])
    column = pa.ListArray.from_arrays(
        pa.array(offsets), pa.concat_arrays(parts), type=_PAIRS, mask=pa.array([p is None for p in pairs])
    )
    return table.set_column(FINDINGS.get_field_index("pairs"), FINDINGS.field("pairs"), column)


def rows_of_table(table: pa.Table) -> list[dict[str, Any]]:
    """The other way round, with pairs as ``pairs_array`` makes them. Raises KeyError without them."""
    rows: list[dict[str, Any]] = table.drop_columns("pairs").to_pylist()
    column = table["pairs"].combine_chunks()
    for row, pairs in zip(rows, column, strict=True):
        row["pairs"] = pairs.values if pairs.is_valid else None
    return rows


def parquet_bytes(table: pa.Table) -> bytes:
    """The same table gives the same bytes: no times, no compression that depends on the build."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", compression_level=3)
    return sink.getvalue()


def read_parquet(data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """The table in a file's bytes, read by this thread alone.

    Arrow's own threads may still hold Python objects when the interpreter ends, which ends the process by an abort.
    """
    file = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False)
    return file.read(list(columns) if columns else None, use_threads=False)


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """(H, W, C) uint8 as PNG, lossless."""
    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(sink, "png", compress_level=1)
    return sink.getvalue()
