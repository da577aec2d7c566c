"""Indexes that an earlier version made (tests/data/format-2): read, resumed and added to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from memcore.errors import RunError
from memcore.images import decode_file, decoder_versions
from memcore.index import Index, build_index, open_source

DATA = Path(__file__).parents[1] / "data" / "format-2"
SHARDS = ("coarse.npy", "fine.npy", "places.npy", "text.parquet", "quarantine.parquet", "shard.json")
#: What a shard of format 3 has in other words, or beside them.
NEW = ("shard.json", "files.npy")


def laid_out(name: str, folder: Path) -> tuple[Path, Path]:
    """Return a copy of the index and its source: index.json holds the source's path and the versions of decoders."""
    source = folder / "training"
    shutil.copytree(DATA / "training", source, dirs_exist_ok=True)
    shutil.copytree(DATA / name, folder / name)
    text = (folder / name / "index.json").read_text().replace("@SOURCE@", str(source.resolve()))
    meta = json.loads(text)
    meta["decoders"] = decoder_versions()
    (folder / name / "index.json").write_text(json.dumps(meta))
    return folder / name, source


def shards(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.glob("shard-*/*"))
        if file.name in SHARDS
    }


def test_an_index_is_read_with_its_images(tmp_path: Path) -> None:
    folder, source = laid_out("index", tmp_path)
    index = Index.open(folder)
    assert len(index) == 12
    names = index.names(range(12))
    assert index.captions([0]) == [(source / "000.txt").read_text().strip()]
    pixels = index.fetch(np.arange(12))
    assert all(
        np.array_equal(image, decode_file(source / name)) for image, name in zip(pixels, names, strict=True)
    )
    (broken,) = index.quarantine()
    assert broken["source"] not in names
    assert build_index(folder, open_source(source), shard_images=4).sources == index.meta.sources


def test_a_stopped_index_is_resumed_to_the_same_bytes(tmp_path: Path) -> None:
    folder, source = laid_out("index-stopped", tmp_path)
    with pytest.raises(RunError, match="not finished"):
        Index.open(folder)
    assert 0 < len(shards(folder)) < len(shards(DATA / "index"))
    build_index(folder, open_source(source), shard_images=4)
    done, want = shards(folder), shards(DATA / "index")
    assert {n: d for n, d in done.items() if Path(n).name not in NEW} == {
        n: d for n, d in want.items() if Path(n).name not in NEW
    }
    index = Index.open(folder)
    assert len(index) == 12
    index.check_sources()
    changed = source / index.names([11])[0]  # of a shard that was made now
    data = bytearray(changed.read_bytes())
    data[-20] ^= 1
    changed.write_bytes(data)
    with pytest.raises(RunError, match=f"1 of 13 files was changed \\({changed.name}\\)"):
        Index.open(folder).check_sources()


def test_an_index_is_added_to(tmp_path: Path) -> None:
    folder, source = laid_out("index", tmp_path)
    np.save(tmp_path / "more.npy", np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8))
    build_index(folder, open_source(tmp_path / "more.npy"), shard_images=4)
    index = Index.open(folder)
    assert len(index) == 17
    assert np.array_equal(index.fetch(np.arange(12, 17)), np.load(tmp_path / "more.npy"))
    assert {name: data for name, data in shards(folder).items() if name in shards(DATA / "index")} == shards(
        DATA / "index"
    )
    assert index.meta.sources[0]["path"] == str(source.resolve())
