"""Indexes on disk: every source, quarantine, resize, resume after a kill, growth, damage; and the commands."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import memcore
from memcore.cli import main
from memcore.errors import ConfigError, RunError
from memcore.index import Index, Resize, build_index, layout, nearest, open_source
from tests.support.index_sets import Images, add_member, pictures, png, write_parquet, write_tar


def write_folder(path: Path, images: Images) -> Path:
    path.mkdir(parents=True)
    for i, pixels in enumerate(images):
        (path / f"{i:04d}.png").write_bytes(png(pixels))
        (path / f"{i:04d}.txt").write_text(f"caption {i}\n")
    return path


def sources_of(folder: Path, images: Images) -> dict[str, Path]:
    """Write the images to every kind of source, some to several files."""
    half = len(images) // 2
    folder.mkdir(exist_ok=True)
    np.save(folder / "all.npy", images)
    np.savez_compressed(folder / "all.npz", images=images)
    write_tar(folder / "tars" / "a.tar", images[:half])
    write_tar(folder / "tars" / "b.tar", images[half:], half)
    write_parquet(folder / "parquet" / "a.parquet", images[:half])
    write_parquet(folder / "parquet" / "b.parquet", images[half:], half, struct=False)
    write_parquet(folder / "one.parquet", images, struct=True)
    (folder / "arrays").mkdir()
    np.save(folder / "arrays" / "0.npy", images[:half])
    np.save(folder / "arrays" / "1.npy", images[half:])
    return {
        "folder": write_folder(folder / "files", images),
        "npy": folder / "all.npy",
        "npz": folder / "all.npz",
        "tars": folder / "tars",
        "parquet": folder / "parquet",
        "structs": folder / "one.parquet",
        "arrays": folder / "arrays",
    }


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of an index but its lock."""
    files = {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }
    files.pop(".lock", None)
    return files


def test_every_source_gives_the_same_index(tmp_path: Path) -> None:
    images = pictures(41)
    queries = images[[3, 40]] // 2 + 60
    want = memcore.knn(queries, images, 6)
    for name, source in sources_of(tmp_path / "data", images).items():
        build_index(tmp_path / name, open_source(source), shard_images=15, threads=2)
        index = Index.open(tmp_path / name)
        assert (len(index), index.image_shape, len(index.shards)) == (41, (12, 12, 3), 3), name
        found = nearest(index, queries, 6)
        assert (found.indices == want.indices).all(), name
        assert (index.fetch(np.array([40, 0, 20, 20])) == images[[40, 0, 20, 20]]).all(), name
        if name in ("folder", "tars", "parquet", "structs"):
            assert index.captions([0, 40, 21]) == ["caption 0", "caption 40", "caption 21"], name
        assert len(set(index.names(range(41)))) == 41, name
        assert not list(index.quarantine())
    assert Index.open(tmp_path / "folder").names([7]) == ["0007.png"]
    assert Index.open(tmp_path / "tars").names([0, 30]) == ["a.tar/00000.png", "b.tar/00030.png"]
    assert Index.open(tmp_path / "parquet").names([22]) == ["b.parquet#2"]
    assert Index.open(tmp_path / "npy").names([22]) == ["22"]


def test_captions_of_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", pictures(5))
    (tmp_path / "captions.txt").write_text("\n".join(f"no. {i}" for i in range(5)))
    source = open_source(tmp_path / "a.npy", captions=str(tmp_path / "captions.txt"))
    build_index(tmp_path / "index", source)
    assert Index.open(tmp_path / "index").captions([4, 1]) == ["no. 4", "no. 1"]
    (tmp_path / "captions.txt").write_text("too few")
    with pytest.raises(ConfigError, match="line for each of 5 images"):
        open_source(tmp_path / "a.npy", captions=str(tmp_path / "captions.txt"))


def test_what_cannot_be_read_is_quarantined_with_a_reason(tmp_path: Path) -> None:
    images = pictures(6)
    folder = write_folder(tmp_path / "files", images)
    (folder / "0001.png").write_bytes(b"no image")
    (folder / "0003.png").write_bytes(png(pictures(1, side=10)[0]))
    Image.fromarray(np.zeros((12, 12, 4), np.uint8)).save(folder / "0004.png")
    (folder / "0005.png").write_bytes(png(images[5])[:-30])
    build_index(tmp_path / "index", open_source(folder), shard_images=2)
    index = Index.open(tmp_path / "index")
    assert len(index) == 2
    assert index.names([0, 1]) == ["0000.png", "0002.png"]
    reasons = {row["source"]: row["reason"] for row in index.quarantine()}
    assert reasons == {
        "0001.png": "unreadable",
        "0003.png": "wrong-size",
        "0004.png": "alpha",
        "0005.png": "truncated",
    }
    build_index(tmp_path / "flat", open_source(folder), background=(255, 0, 0))
    assert (Index.open(tmp_path / "flat").fetch(np.array([2])) == [255, 0, 0]).all()


def test_broken_archives_cost_only_their_rest(tmp_path: Path) -> None:
    images = pictures(20)
    write_tar(tmp_path / "tars" / "a.tar", images[:10])
    write_tar(tmp_path / "tars" / "b.tar", images[10:], 10)
    data = (tmp_path / "tars" / "a.tar").read_bytes()
    (tmp_path / "tars" / "a.tar").write_bytes(data[: len(data) // 2])
    with tarfile.open(tmp_path / "tars" / "c.tar", "w") as tar:
        add_member(tar, "1.txt", b"no image here")
        add_member(tar, "2.png", png(images[0]))
    (tmp_path / "tars" / "d.tar").write_bytes(b"x" * 2000)
    build_index(tmp_path / "index", open_source(tmp_path / "tars"), shard_images=4)
    index = Index.open(tmp_path / "index")
    reasons = [(row["source"].split("/")[0], row["reason"]) for row in index.quarantine()]
    assert reasons.count(("a.tar", "archive")) == 1
    assert set(reasons) - {("a.tar", "truncated")} == {
        ("a.tar", "archive"),
        ("c.tar", "no-image"),
        ("d.tar", "archive"),
    }
    names = index.names(range(len(index)))
    assert sum(n.startswith("b.tar") for n in names) == 10
    assert 2 <= sum(n.startswith("a.tar") for n in names) < 10
    write_parquet(tmp_path / "pq" / "a.parquet", images)
    good = (tmp_path / "pq" / "a.parquet").read_bytes()
    (tmp_path / "pq" / "b.parquet").write_bytes(good[:100] + bytes(200) + good[300:])
    (tmp_path / "pq" / "c.parquet").write_bytes(good[: len(good) // 2])
    build_index(tmp_path / "index2", open_source(tmp_path / "pq"), shard_images=6)
    index = Index.open(tmp_path / "index2")
    assert sum(n.startswith("a.parquet") for n in index.names(range(len(index)))) == 20
    assert {r["reason"] for r in index.quarantine() if r["source"].startswith("c.parquet")} == {"archive"}


def test_a_resize_is_declared_and_recorded(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    sizes = [(20, 30), (16, 16), (40, 12)]
    rng = np.random.default_rng(1)
    for i, (h, w) in enumerate(sizes):
        (folder / f"{i}.png").write_bytes(png(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)))
    build_index(tmp_path / "a", open_source(folder))
    with pytest.raises(ConfigError, match="another folder"):
        build_index(tmp_path / "a", open_source(folder), resize=Resize(16, 16))
    assert len(Index.open(tmp_path / "a")) == 1
    for fit in ("crop", "stretch"):
        build_index(tmp_path / fit, open_source(folder), resize=Resize(16, 16, "bicubic", fit))  # type: ignore[arg-type]
        index = Index.open(tmp_path / fit)
        assert len(index) == 3
        assert index.describe()["resize"] == {"height": 16, "width": 16, "method": "bicubic", "fit": fit}
        for i in range(3):
            image = Image.open(folder / f"{i}.png")
            if fit == "crop":  # the largest centred square
                side, (w, h) = min(image.size), image.size
                image = image.crop(((w - side) // 2, (h - side) // 2, (w + side) // 2, (h + side) // 2))
            want = np.asarray(image.resize((16, 16), Image.Resampling.BICUBIC))
            assert (index.fetch(np.array([i]))[0] == want).all()
    with pytest.raises(ConfigError, match="method"):
        Resize(16, 16, "magic")


def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    images = pictures(600, side=24)
    images[::7, :, :, 0] = 9
    sources = {"tars": tmp_path / "tars", "parquet": tmp_path / "parquet", "images": tmp_path / "images"}
    for i in range(4):
        write_tar(sources["tars"] / f"{i}.tar", images[i * 150 : i * 150 + 150], i * 150)
        write_parquet(sources["parquet"] / f"{i}.parquet", images[i * 150 : i * 150 + 150], i * 150)
    write_folder(sources["images"], images)
    (sources["images"] / "0300.png").write_bytes(b"broken")
    cut = (sources["tars"] / "1.tar").read_bytes()
    (sources["tars"] / "1.tar").write_bytes(cut[:-40_000])
    rng = random.Random(5)
    killed_in_all = 0
    for kind, source in sources.items():
        flags = [
            "--source",
            str(source),
            "--shard-images",
            "64",
            "--quiet",
            "--threads",
            "1",
            "--allow-incomplete",
        ]
        started = time.monotonic()
        assert main(["index", str(tmp_path / f"{kind}-whole"), *flags]) == 0
        whole = time.monotonic() - started
        want = tree(tmp_path / f"{kind}-whole")
        killed = tmp_path / f"{kind}-killed"
        code = "import sys; from memcore.cli import main; print('ready', flush=True); sys.exit(main(sys.argv[1:]))"
        kills = 0
        for _ in range(30):
            process = subprocess.Popen(
                [sys.executable, "-c", code, "index", str(killed), *flags], stdout=subprocess.PIPE, text=True
            )
            assert process.stdout is not None
            process.stdout.readline()
            if kills < 3:
                time.sleep(rng.uniform(0.3, 1.2) * whole)
                kills += process.poll() is None
                process.send_signal(signal.SIGKILL)
            process.communicate()
            if process.returncode == 0:
                break
        assert process.returncode == 0
        assert tree(killed) == want, kind
        killed_in_all += kills
    assert killed_in_all > 0


def test_an_index_grows_by_sources_and_by_files(tmp_path: Path) -> None:
    images = pictures(60)
    write_tar(tmp_path / "tars" / "a.tar", images[:20])
    build_index(tmp_path / "index", open_source(tmp_path / "tars"), shard_images=8)
    before = tree(tmp_path / "index")
    build_index(tmp_path / "index", open_source(tmp_path / "tars"), shard_images=8)
    assert tree(tmp_path / "index") == before  # nothing to do
    write_tar(tmp_path / "tars" / "b.tar", images[20:40], 20)
    build_index(tmp_path / "index", open_source(tmp_path / "tars"), shard_images=8)
    np.save(tmp_path / "more.npy", images[40:])
    build_index(tmp_path / "index", open_source(tmp_path / "more.npy"), shard_images=8)
    index = Index.open(tmp_path / "index")
    assert len(index) == 60
    assert (index.fetch(np.arange(60)) == images).all()
    assert (nearest(index, images[[5, 25, 45]], 1).indices.ravel() == [5, 25, 45]).all()
    write_tar(tmp_path / "tars" / "c.tar", images[:3])
    assert (Index.open(tmp_path / "index").fetch(np.array([39])) == images[39]).all()  # more files do no harm
    write_tar(tmp_path / "tars" / "a.tar", images)
    with pytest.raises(ConfigError, match="changed since it was indexed"):
        build_index(tmp_path / "index", open_source(tmp_path / "tars"), shard_images=8)
    with pytest.raises(RunError, match="changed since"):
        Index.open(tmp_path / "index").fetch(np.array([0]))


def test_other_settings_are_refused_with_the_difference(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", pictures(5))
    source = open_source(tmp_path / "a.npy")
    build_index(tmp_path / "index", source)
    with pytest.raises(ConfigError, match="coarse: 4 -> 2"):
        build_index(tmp_path / "index", source, coarse=2)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("precious")
    with pytest.raises(RunError, match="not empty"):
        build_index(tmp_path / "full", source)
    with pytest.raises(RunError, match="is a file"):
        build_index(tmp_path / "a.npy", source)
    assert (tmp_path / "full" / "thesis.txt").read_text() == "precious"


def test_damage_is_seen_and_can_be_mended(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", pictures(50))
    source = open_source(tmp_path / "a.npy")
    build_index(tmp_path / "index", source, shard_images=10)
    want = tree(tmp_path / "index")
    for name in (layout.COARSE, layout.FINE, layout.PLACES):
        file = tmp_path / "index" / layout.shard_name(3) / name
        data = bytearray(file.read_bytes())
        data[-5] ^= 1
        file.write_bytes(data)
        with pytest.raises(RunError, match=f"{name} is damaged: its sha256"):
            Index.open(tmp_path / "index")
        file.write_bytes(data[:-1])
        with pytest.raises(RunError, match="another size"):
            Index.open(tmp_path / "index", verify=False)
        data[-5] ^= 1
        file.write_bytes(data)
    (tmp_path / "index" / layout.shard_name(3) / "shard.json").write_text("{")
    with pytest.raises(RunError, match=r"shard\.json is damaged"):
        Index.open(tmp_path / "index")
    # What the message says to do repairs it.
    for number in (3, 4):
        shutil.rmtree(tmp_path / "index" / layout.shard_name(number))
    with pytest.raises(RunError, match="lacks shards"):
        Index.open(tmp_path / "index")
    build_index(tmp_path / "index", source, shard_images=10)
    assert tree(tmp_path / "index") == want
    shutil.rmtree(tmp_path / "index" / layout.shard_name(1))
    with pytest.raises(RunError, match="lacks shard-000001"):
        Index.open(tmp_path / "index")
    for text, message in (("{}", "damaged"), ('{"format": 99}', "format 99")):
        (tmp_path / "index" / "index.json").write_text(text)
        with pytest.raises(RunError, match=message):
            Index.open(tmp_path / "index")
    with pytest.raises(RunError, match="is not an index"):
        Index.open(tmp_path)


def test_an_unfinished_index_is_not_searched(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", pictures(50))

    class Stop(Exception):
        pass

    def stop(images: int, broken: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        build_index(tmp_path / "index", open_source(tmp_path / "a.npy"), shard_images=10, progress=stop)
    with pytest.raises(RunError, match="not finished"):
        Index.open(tmp_path / "index")
    np.save(tmp_path / "b.npy", pictures(5))
    with pytest.raises(ConfigError, match="has not been read to its end"):
        build_index(tmp_path / "index", open_source(tmp_path / "b.npy"), shard_images=10)


def test_a_changed_image_is_noticed(tmp_path: Path) -> None:
    images = pictures(9)
    np.save(tmp_path / "a.npy", images)
    build_index(tmp_path / "index", open_source(tmp_path / "a.npy"))
    index = Index.open(tmp_path / "index")
    index.check_sources()
    np.save(tmp_path / "a.npy", images[::-1])
    with pytest.raises(RunError, match=r"row 3.*its pixels are not the same"):
        index.fetch(np.array([4, 3]))
    (tmp_path / "a.npy").unlink()
    with pytest.raises(RunError, match="is missing"):
        Index.open(tmp_path / "index").fetch(np.array([0]))


def test_a_full_disk_leaves_no_half_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "a.npy", pictures(50))
    source = open_source(tmp_path / "a.npy")
    real, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 12:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        build_index(tmp_path / "index", source, shard_images=10)
    assert not list((tmp_path / "index").glob(".tmp-*"))
    monkeypatch.setattr(os, "fsync", real)
    build_index(tmp_path / "index", source, shard_images=10)
    build_index(tmp_path / "whole", source, shard_images=10)
    assert tree(tmp_path / "index") == tree(tmp_path / "whole")


def test_sources_that_cannot_be_told_or_read_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "mixed", pictures(2))
    write_tar(tmp_path / "mixed" / "a.tar", pictures(2))
    with pytest.raises(ConfigError, match="several kinds"):
        open_source(tmp_path / "mixed")
    assert open_source(tmp_path / "mixed", "tars").kind == "tars"
    for path, message in (
        (tmp_path / "nothing", "does not exist"),
        (tmp_path / "mixed" / "0000.png", "by their folder"),
    ):
        with pytest.raises(ConfigError, match=message):
            open_source(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="nothing to read"):
        open_source(tmp_path / "empty")
    pq.write_table(pa.table({"a": [b"x"], "b": [b"y"]}), tmp_path / "two.parquet")
    with pytest.raises(ConfigError, match="several columns of bytes"):
        open_source(tmp_path / "two.parquet")
    with pytest.raises(ConfigError, match="none of a, b"):
        open_source(tmp_path / "two.parquet", image_column="c")
    with pytest.raises(ConfigError, match="means nothing"):
        open_source(tmp_path / "mixed", "images", image_column="a")
    with pytest.raises(ConfigError, match="not one readable image"):
        build_index(tmp_path / "index", open_source(tmp_path / "two.parquet", image_column="a"))
    np.save(tmp_path / "float.npy", np.zeros((2, 4, 4, 3)))
    with pytest.raises(ConfigError, match="uint8"):
        build_index(tmp_path / "index", open_source(tmp_path / "float.npy"))


def test_the_command_says_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "files", pictures(5))
    (folder / "0002.png").write_bytes(b"")
    index = str(tmp_path / "index")
    words = ["index", index, "--source", str(folder), "--resize", "8x8", "--quiet"]
    assert main(words) == 5
    out = capsys.readouterr().out
    assert "4 images of 8x8x3 in 1 shard, 1 left out" in out
    assert "incomplete: 1 of 5 training images was not indexed: unreadable" in out
    assert main([*words, "--allow-incomplete"]) == 0
    capsys.readouterr()
    assert "resized to 8x8 (lanczos, crop)" in out
    assert main(["index", index, "--verify", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["count"] == 4
    for flags, message in (
        (["--source", str(folder), "--resize", "8"], "512x512"),
        (["--source", str(folder), "--background", "1,2"], "255,255,255"),
        ([], "source is missing"),
        (["--source", str(folder)], "resize: {"),
    ):
        assert main(["index", index, *flags]) == 2
        assert message in capsys.readouterr().err
