"""An index of somebody else may be sealed and sound by its digests, and hold anything: every command says so in a line."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memcore.storage.digests import digest_bytes, seal
from tests.support.command_line import encoded, filter_images, memcore, near, noise, write_copies
from tests.support.index_sets import write_meta, write_tar


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an index of a folder, one of a tar, and a run that both match."""
    root = tmp_path_factory.mktemp("made")
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


def many_rows(shard: Path) -> bytes:
    """Return 20 million rows in a few kilobytes."""
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(20_000_000, np.int8)), pa.array(["x"]))
    return parquet(pa.table(dict.fromkeys(("name", "caption"), text)))


CHANGES: dict[str, tuple[str, Callable[[Path], bytes]]] = {
    "texts without columns": ("text.parquet", lambda _: parquet(pa.table({"x": [1, 2, 3, 4]}))),
    "texts that are numbers": (
        "text.parquet",
        lambda _: parquet(pa.table({"name": [1, 2, 3, 4], "caption": [1.0] * 4})),
    ),
    "too few texts": ("text.parquet", lambda _: parquet(pa.table({"name": ["x"], "caption": ["x"]}))),
    "texts that are none": ("text.parquet", lambda _: b"PAR1 or not"),
    "many texts": ("text.parquet", many_rows),
    "quarantine without columns": ("quarantine.parquet", lambda _: parquet(pa.table({"x": [1]}))),
    "quarantine that is none": ("quarantine.parquet", lambda _: b""),
    "many in the quarantine": ("quarantine.parquet", many_rows),
    "places in no part": ("places.npy", places(part=7)),
    "places before the first part": ("places.npy", places(part=-1)),
    "places behind the end": ("places.npy", places(offset=2**62)),
    "places before the start": ("places.npy", places(offset=-5)),
    "large places": ("places.npy", places(bytes=2**31 - 1)),
    "negative sizes": ("places.npy", places(bytes=-1)),
    "sketches of other pictures": ("fine.npy", lambda shard: npy(255 - np.load(shard / "fine.npy"))),
    "sketches that are floats": ("coarse.npy", lambda shard: npy(np.load(shard / "coarse.npy") * 1.0)),
}


#: What is not read of an index of that kind.
UNUSED = {"folder": ("large places",), "tar": ()}


#: The folder alone has an image that cannot be read, and so a quarantine.
CASES = [
    (kind, c) for c in CHANGES for kind in UNUSED if kind == "folder" or CHANGES[c][0] != "quarantine.parquet"
]


@pytest.mark.parametrize(("kind", "change"), CASES)
def test_it_is_told(made: Path, tmp_path: Path, kind: str, change: str) -> None:
    name, make = CHANGES[change]
    index, run, source = tmp_path / "index", tmp_path / "run", made / kind
    shutil.copytree(made / f"{kind}.index", index)
    shutil.copytree(made / "run", run)
    assert (index / "shard-000000" / name).exists()
    replace(index, name, make(index / "shard-000000"))
    told = 0
    for words in (
        ("match", run, "--index", index, "--source", source),
        ("prompts", tmp_path / "p.parquet", "--index", index, "--source", source, "--min-count", 1),
        ("index", index, "--source", source, "--quiet"),
        ("index", index, "--verify"),
    ):
        said = memcore(*words)
        assert said.code in (0, 2, 5), said
        assert said.code != 2 or said.err.startswith("memcore: "), said
        told += said.code == 2
    assert told or change in UNUSED[kind]
