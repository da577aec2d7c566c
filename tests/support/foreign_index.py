"""Indexes of a stranger: made right, then changed, with all digests fitting."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from memcore.storage.digests import digest_bytes, seal
from tests.support.command_line import encoded, filter_images, memcore, near, noise, write_copies
from tests.support.index_sets import write_meta, write_tar


def make_indexes(root: Path) -> Path:
    """Make an index of a folder, one of a tar, and a run that both match."""
    original = noise(1)[0]
    assert filter_images(root / "run", write_copies(root / "images", original)).said.code == 0
    (root / "folder").mkdir()
    pictures = np.stack([near(original, 5), *noise(3, 3)])
    for i, pixels in enumerate(pictures):
        (root / "folder" / f"{i}.png").write_bytes(encoded(pixels))
        (root / "folder" / f"{i}.txt").write_text("a fox")
    (root / "folder" / "broken.png").write_bytes(b"no picture")
    write_tar(root / "tar" / "a.tar", pictures)
    for kind in ("folder", "tar"):
        assert memcore("index", root / f"{kind}.index", "--source", root / kind, "--quiet").code in (0, 5)
    return root


def replace(index: Path, name: str, data: bytes) -> None:
    """Replace a file of the first shard, and let all digests fit."""
    shard = index / "shard-000000"
    (shard / name).write_bytes(data)
    record = json.loads((shard / "shard.json").read_text())
    record["files"][name] = digest_bytes(data)
    text = json.dumps(seal(record)).encode()
    (shard / "shard.json").write_bytes(text)
    meta = json.loads((index / "index.json").read_text())
    meta["sources"][0]["made"] = [digest_bytes(text)["sha256"]]
    write_meta(index, meta)


def npy(array: Any) -> bytes:
    sink = io.BytesIO()
    np.save(sink, array)
    return sink.getvalue()


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def places(**changes: int) -> Callable[[Path], bytes]:
    """Return the places with one field of another value."""

    def make(shard: Path) -> bytes:
        held = np.load(shard / "places.npy")
        for field, value in changes.items():
            held[field] = value
        return npy(held)

    return make
