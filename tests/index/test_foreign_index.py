"""An index of somebody else may be sealed and sound by its digests, and hold anything: every command says so in a line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.support.command_line import memcore
from tests.support.foreign_index import make_indexes, npy, parquet, places, replace


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where two indexes and a run are."""
    return make_indexes(tmp_path_factory.mktemp("made"))


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
