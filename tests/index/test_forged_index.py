"""What a forged index says of itself: it may not claim more than it holds, nor lead out of its folder."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memcore.errors import MemcoreError
from memcore.guard import OutputFilter
from memcore.index import Index
from memcore.storage.digests import digest_bytes, seal
from tests.support.command_line import Said, memcore
from tests.support.foreign_index import make_indexes, npy, places, replace
from tests.support.index_sets import write_meta

Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where two indexes and a run are."""
    return make_indexes(tmp_path_factory.mktemp("made"))


def of_index(change: Callable[[dict[str, Any]], Any]) -> Change:
    """Return what changes index.json, and lets its digest fit."""

    def do(index: Path) -> None:
        meta = json.loads((index / "index.json").read_text())
        change(meta)
        write_meta(index, meta)

    return do


def source(**values: Any) -> Change:
    return of_index(lambda meta: meta["sources"][0].update(values))


def whole(**values: Any) -> Change:
    return of_index(lambda meta: meta.update(values))


def coverage(**values: Any) -> Change:
    return of_index(lambda meta: meta["sources"][0]["coverage"].update(values))


def of_shard(change: Callable[[dict[str, Any]], Any]) -> Change:
    """Return what changes shard.json, and lets all digests fit."""

    def do(index: Path) -> None:
        path = index / "shard-000000" / "shard.json"
        record = json.loads(path.read_text())
        change(record)
        text = json.dumps(seal(record)).encode()
        path.write_bytes(text)
        source(made=[digest_bytes(text)["sha256"]])(index)

    return do


def names_file(name: str) -> Change:
    return of_shard(lambda shard: shard["files"].update({name: digest_bytes(b"outside")}))


def unfinished(**values: Any) -> Change:
    """Return what makes the index one that is to be resumed; None removes a key of shard.json."""

    def do(index: Path) -> None:
        of_shard(
            lambda shard: [shard.update({k: v}) if v is not None else shard.pop(k) for k, v in values.items()]
        )(index)
        ended = ("images", "shards", "quarantined", "coverage", "made")
        of_index(lambda meta: [meta["sources"][0].pop(key) for key in ended])(index)

    return do


def other_order(index: Path) -> None:
    """Let the folder have had more images, and a place be none of them."""
    replace(index, "places.npy", places(offset=10**6)(index / "shard-000000"))
    of_index(lambda meta: meta["sources"][0]["parts"][0].update(bytes=7))(index)


def far_coarse(index: Path) -> None:
    """Let the coarse sketches alone be those of other pictures, so that the search passes over every copy."""
    replace(index, "coarse.npy", npy(255 - np.load(index / "shard-000000" / "coarse.npy")))


RESIZE = {"height": 16, "width": 16, "method": "lanczos", "fit": "crop"}
FORGED: dict[str, Change] = {
    "nothing was left out": coverage(pointed_at=8, left_out={}),
    "another was left out": coverage(left_out={"no-image": 1}),
    "more images were compared": coverage(pointed_at=1_000_005, images=1_000_000),
    "a sum that is wrong": coverage(pointed_at=100),
    "negative counts": coverage(pointed_at=1, texts=-4),
    "nothing in the quarantine": source(quarantined=0),
    "a negative first shard": source(first_shard=-1),
    "a first shard that is the second": source(first_shard=1),
    "shards of no source": source(first_shard=1, shards=0, images=0, quarantined=0, made=[]),
    "no files": source(parts=[]),
    "a path that is too long": source(path="a" * 5000),
    "a path that is no text": source(path="/x\ud800"),
    "a path with a null": source(path="/x\0"),
    "images of 30 GB": whole(image_shape=[100_000, 100_000, 3]),
    "images whose size overflows": whole(image_shape=[2**31, 2**31, 4]),
    "seven channels": whole(image_shape=[16, 16, 7]),
    "a resize of more": whole(resize={**RESIZE, "more": 1}),
    "a huge resize": whole(resize={**RESIZE, "height": 10**9}),
    "no colour": whole(background=[300, -1, 2]),
    "a file outside": names_file("../../outside"),
    "a file that no system has": names_file("a\0b"),
    "a device": names_file("/dev/zero"),
    "places of images that were there": other_order,
    "coarse sketches of other pictures": far_coarse,
    "the same source twice": of_index(lambda meta: meta["sources"].append(copy.deepcopy(meta["sources"][0]))),
}


@pytest.fixture
def index(made: Path, tmp_path: Path) -> Path:
    (tmp_path / "outside").write_bytes(b"outside")
    return Path(shutil.copytree(made / "folder.index", tmp_path / "index"))


def check_refused(said: Said) -> None:
    """Check that a command ended with one line."""
    assert said.code == 2, said
    assert said.err.startswith("memcore: ")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("forged", FORGED)
def test_it_is_refused(made: Path, tmp_path: Path, index: Path, forged: str) -> None:
    FORGED[forged](index)
    shutil.copytree(made / "run", tmp_path / "run")
    said = memcore("match", tmp_path / "run", "--index", index, "--source", made / "folder")
    check_refused(said)
    again = memcore("index", index, "--source", made / "folder", "--quiet")
    assert again.code in (0, 2, 5), again
    if forged not in ("coarse sketches of other pictures", "places of images that were there"):
        assert again.code == 2
        with pytest.raises(MemcoreError):
            OutputFilter(index, delta=0.1, allow_incomplete=True)
        with pytest.raises(MemcoreError):
            Index.open(index)


@pytest.mark.parametrize(
    "values", [{"end": [-2, -3]}, {"end": [5, 0]}, {"pointed_at": None}, {"texts": None}, {"ended": -1}]
)
def test_a_forged_index_is_not_resumed(made: Path, index: Path, values: dict[str, Any]) -> None:
    unfinished(**values)(index)
    said = memcore("index", index, "--source", made / "folder", "--quiet")
    check_refused(said)


def test_no_lock_leads_out_of_the_folder_or_waits(made: Path, tmp_path: Path, index: Path) -> None:
    (index / ".lock").unlink()
    for make in (
        lambda: (index / ".lock").symlink_to(tmp_path / "outside"),
        lambda: os.mkfifo(index / ".lock"),
    ):
        make()
        said = memcore("index", index, "--source", made / "folder", "--quiet")
        check_refused(said)
        assert ".lock" in said.err
        assert (tmp_path / "outside").read_bytes() == b"outside"
        (index / ".lock").unlink()
