"""Stored generations in every layout: the same images, seeds and prompts, and each broken file alone put aside."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from memcore.errors import ConfigError
from memcore.jobs.audit import filter_stored, summary
from memcore.jobs.config import Config
from memcore.jobs.stored import StoredPrompts
from memcore.sampling.seeds import derive_seed
from memcore.types import Request
from tests.synthetic import MEMORISED, SHAPE, SyntheticSampler

Pixels = NDArray[np.uint8]
NAMES = ["a red fox", "rain", "two boats"]
COUNT = 30


def generations(prompt_id: int, prompt: str, count: int = COUNT) -> tuple[list[int], Pixels]:
    seeds = [derive_seed(0, prompt_id, i) for i in range(count)]
    sampler = SyntheticSampler()
    return seeds, sampler.sample([Request(prompt_id, prompt, s) for s in seeds]).pixels


def encoded(pixels: Pixels, kind: str = "png", **options: Any) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, kind, **options)
    return sink.getvalue()


def add(tar: tarfile.TarFile, name: str, data: bytes, **changes: Any) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for field, value in changes.items():
        setattr(member, field, value)
    tar.addfile(member, io.BytesIO(data))


def read_all(
    stored: StoredPrompts, prompt_id: int
) -> tuple[Pixels, list[int], list[bool], list[dict[str, str]]]:
    pixels, seeds, constant, broken = [], [], [], []
    for images, own, flags, gone in stored.read(prompt_id):
        assert len(images) == len(own) == len(flags)
        pixels.append(images.copy())
        seeds.extend(own)
        constant.extend(flags.tolist())
        broken.extend(gone)
    return np.concatenate(pixels), seeds, constant, broken


def write_folders(root: Path) -> Path:
    for number, prompt in enumerate(NAMES):
        (root / prompt).mkdir(parents=True)
        for seed, image in zip(*generations(number, prompt), strict=True):
            (root / prompt / f"{seed}.png").write_bytes(encoded(image))
    return root


def write_tars(root: Path) -> Path:
    """Two shards over which the prompts are scattered, captions in .txt and .json."""
    root.mkdir(parents=True)
    with tarfile.open(root / "0.tar", "w") as one, tarfile.open(root / "1.tar", "w") as two:
        for number, prompt in enumerate(NAMES):
            for n, (seed, image) in enumerate(zip(*generations(number, prompt), strict=True)):
                tar, key = (one, two)[n % 2], f"{number:03d}{n:05d}"
                if n % 3:
                    add(
                        tar,
                        f"{key}.json",
                        json.dumps({"caption": prompt, "seed": seed, "extra": [1]}).encode(),
                    )
                else:
                    key = f"deep/er/{seed}" if n else str(seed)
                    add(tar, f"{key}.txt", f"{prompt}\n".encode())
                add(tar, f"{key}.png", encoded(image))
    return root


def write_parquet(root: Path, *, struct: bool = False) -> Path:
    root.mkdir(parents=True)
    rows = [
        {
            "caption": prompt,
            "seed": seed,
            "image": {"bytes": encoded(image), "path": None} if struct else encoded(image),
        }
        for number, prompt in enumerate(NAMES)
        for seed, image in zip(*generations(number, prompt), strict=True)
    ]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table.slice(0, 40), root / "0.parquet", row_group_size=7)
    pq.write_table(table.slice(40), root / "1.parquet")
    return root


def write_arrays(root: Path) -> Path:
    root.mkdir(parents=True)
    for number, prompt in enumerate(NAMES):
        np.save(root / f"{prompt}.npy", generations(number, prompt)[1])
    return root


def write_array(root: Path) -> Path:
    root.mkdir(parents=True)
    np.save(root / "all.npy", np.stack([generations(n, p)[1] for n, p in enumerate(NAMES)]))
    (root / "all.txt").write_text("\n".join(NAMES))
    return root / "all.npy"


LAYOUTS = {
    "folders": write_folders,
    "tars": write_tars,
    "parquet": write_parquet,
    "parquet-struct": lambda root: write_parquet(root, struct=True),
    "npy": write_arrays,
    "one-npy": write_array,
}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_images(layout: str, threads: int, tmp_path: Path) -> None:
    stored = StoredPrompts(LAYOUTS[layout](tmp_path / "set"), threads=threads)
    assert sorted(stored.prompts) == NAMES
    assert stored.image_shape == SHAPE
    for position, prompt in enumerate(stored.prompts):
        seeds, images = generations(NAMES.index(prompt), prompt)
        pixels, got, constant, broken = read_all(stored, position)
        assert not any(constant)
        assert broken == []
        assert stored.count(position) == COUNT
        want = dict(zip(range(COUNT) if "npy" in layout else seeds, images, strict=True))
        assert sorted(got) == sorted(want)
        assert all(np.array_equal(image, want[seed]) for seed, image in zip(got, pixels, strict=True))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_filter_finds_the_same_in_every_layout(layout: str, tmp_path: Path) -> None:
    config = Config(source="stored", images=str(LAYOUTS[layout](tmp_path / "set")))
    folder = filter_stored(tmp_path / "run", config, workers=1, quiet=True)
    rows = {row["prompt"]: row for row in folder.findings()}
    assert {p for p, row in rows.items() if row["status"] == "finding"} == set(MEMORISED)
    reference = filter_stored(
        tmp_path / "other",
        Config(source="stored", images=str(write_arrays(tmp_path / "arrays"))),
        workers=1,
        quiet=True,
    )
    for row in reference.findings():
        mine = rows[row["prompt"]]
        assert [mine[k] for k in ("size", "mean_distance", "edges")] == [
            row[k] for k in ("size", "mean_distance", "edges")
        ]


def test_good_images_lie_behind_one_another_whatever_is_between(tmp_path: Path) -> None:
    """Broken and constant ones in all places, in chunks of a few: the good ones close up and keep seeds and order."""
    images = np.random.default_rng(3).integers(0, 256, (60, 64, 64, 3), dtype=np.uint8)
    folder = tmp_path / "set" / "one"
    folder.mkdir(parents=True)
    kinds = np.random.default_rng(4).integers(0, 4, 60)
    for seed, (image, kind) in enumerate(zip(images, kinds, strict=True)):
        content = {0: encoded(np.full_like(image, seed)), 1: b"broken"}.get(int(kind), encoded(image))
        (folder / f"{seed:03d}.png").write_bytes(content)
    for threads in (1, 2):
        stored = StoredPrompts(tmp_path / "set", threads=threads)
        room = stored.room(stored.count(0))
        kept, order = 0, []
        for pixels, seeds, constant, broken in stored.read(0):
            order.extend(seeds)
            order.extend(int(Path(b["source"]).stem) for b in broken)
            for image, seed, flat in zip(pixels, seeds, constant, strict=True):
                assert (kinds[seed] == 0) == flat
                if flat:
                    assert (image == seed).all()
                else:
                    assert np.shares_memory(image, room[kept])
                    assert np.array_equal(room[kept], images[seed])
                    kept += 1
        assert order == list(range(60))
        assert kept == int((kinds > 1).sum())


def test_every_trap_is_quarantined_alone(tmp_path: Path) -> None:
    folder = tmp_path / "stored" / "a red fox"
    folder.mkdir(parents=True)
    good = generations(0, "a red fox")[1]
    for seed, image in enumerate(good):
        (folder / f"{seed}.png").write_bytes(encoded(image))
    grey = np.full((16, 16), 40_000, np.uint16)
    wide = good[0][:8]
    turned = Image.Exif()
    turned[0x0112] = 6
    traps: dict[str, tuple[bytes, str]] = {
        "100.png": (b"not an image", "unreadable"),
        "101.png": (encoded(good[1])[:200], "truncated"),
        "102.png": (encoded(wide), "wrong-size"),
        "103.png": (encoded(grey), "depth"),
        "104.png": (encoded(np.zeros((16, 16, 4), np.uint8)), "alpha"),
        "105.jpg": (encoded(good[2], "jpeg")[:300], "truncated"),
        "106.jpg": (
            encoded(np.zeros((16, 16, 4), np.uint8)[..., :3], "jpeg", exif=turned)[:-30],
            "truncated",
        ),
        "107.webp": (b"", "unreadable"),
        "108.tif": (b"II*\0", "unreadable"),
    }
    sink = io.BytesIO()
    Image.fromarray(good[3]).convert("CMYK").save(sink, "jpeg")
    traps["109.jpg"] = (sink.getvalue(), "colour")
    sink = io.BytesIO()
    Image.fromarray(good[3]).save(sink, "gif", save_all=True, append_images=[Image.fromarray(good[4])])
    traps["110.gif"] = (sink.getvalue(), "animated")
    sink = io.BytesIO()
    Image.new("1", (9000, 9000)).save(sink, "png")
    traps["111.png"] = (sink.getvalue(), "too-large")
    for name, (data, _) in traps.items():
        (folder / name).write_bytes(data)
    (folder / "200.png").write_bytes(encoded(np.full((16, 16, 3), 7, np.uint8)))
    (folder / "201.png").write_bytes(encoded(np.zeros((16, 16), np.uint8)))
    (folder / "notes.txt").write_text("no image, and not called one")
    run = filter_stored(
        tmp_path / "run", Config(source="stored", images=str(tmp_path / "stored")), workers=1, quiet=True
    )
    assert {Path(q["source"]).name: q["reason"] for q in run.quarantine()} == {
        n: r for n, (_, r) in traps.items()
    }
    (row,) = run.findings()
    assert (row["status"], row["excluded"], row["generated"]) == ("finding", 2, COUNT + 2)
    assert set(row["seeds"]) < set(range(COUNT))
    assert summary(run)["quarantined"] == len(traps)


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path / "stored")
    os.makedirs(root + b"/caf\xe9")
    for seed, image in enumerate(generations(0, "a red fox")[1]):
        with open(root + b"/caf\xe9/%d\xff.png" % seed, "wb") as file:
            file.write(encoded(image))
    with open(root + b"/caf\xe9/bad\xfe.png", "wb") as file:
        file.write(b"bad")
    run = filter_stored(
        tmp_path / "run", Config(source="stored", images=str(tmp_path / "stored")), workers=1, quiet=True
    )
    (row,) = run.findings()
    assert (row["prompt"], row["status"], row["generated"]) == (r"caf\xe9", "finding", COUNT)
    assert [q["source"] for q in run.quarantine()] == [r"caf\xe9/bad\xfe.png"]


def test_path_tricks_of_an_archive(tmp_path: Path) -> None:
    good = generations(0, "a red fox")[1]
    (tmp_path / "set").mkdir()
    with tarfile.open(tmp_path / "set" / "fox.tar", "w") as tar:
        for seed, image in enumerate(good):
            add(tar, f"{seed}.png", encoded(image))
        add(tar, "../../../../etc/cron.d/1000.png", encoded(good[0]))
        add(tar, "/etc/1001.png", encoded(good[0]))
        add(tar, "1002.png", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(tar, "1003.png", b"", type=tarfile.LNKTYPE, linkname="0.png")
        add(tar, "1004.png", b"", type=tarfile.FIFOTYPE)
        add(tar, "1005.png", b"", type=tarfile.CHRTYPE)
        add(tar, "a/../../1006.png", encoded(good[0]))
    stored = StoredPrompts(tmp_path / "set")
    pixels, seeds, _, broken = read_all(stored, 0)
    assert stored.prompts == ["fox"]
    assert (seeds, len(pixels)) == (list(range(COUNT)), COUNT)
    assert [b["reason"] for b in broken] == ["path"] * 7
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set"], "nothing is ever unpacked"


def test_a_truncated_archive_keeps_what_is_whole(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with tarfile.open(tmp_path / "set" / "fox.tar", "w") as tar:
        for seed, image in enumerate(generations(0, "a red fox")[1]):
            add(tar, f"{seed}.png", encoded(image))
            if seed == 19:
                end = tar.offset
    path = tmp_path / "set" / "fox.tar"
    path.write_bytes(path.read_bytes()[: end + 700])
    _, seeds, _, broken = read_all(StoredPrompts(tmp_path / "set"), 0)
    assert seeds[:20] == list(range(20))
    assert {b["reason"] for b in broken} == {"truncated"}
    path.write_bytes(b"\xff" * 5000)
    with pytest.raises(ConfigError, match="not one readable image"):
        StoredPrompts(tmp_path / "set")


def test_captions_that_cannot_be_used_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    texts = [
        b"{",
        b"[1]",
        b'{"caption": 5, "seed": -1}',
        b"\xff\xfe",
        b'{"seed": true}',
        b"[" * 60_000,
        b" " * 70_000,
    ]
    with tarfile.open(tmp_path / "set" / "fox.tar", "w") as tar:
        for seed, (image, text) in enumerate(zip(generations(0, "a red fox")[1], texts, strict=False)):
            add(tar, f"some folder/{seed}.json", text)
            add(tar, f"some folder/{seed}.png", encoded(image))
    stored = StoredPrompts(tmp_path / "set")
    assert stored.prompts == ["some folder"]
    assert read_all(stored, 0)[1] == list(range(len(texts)))


def test_damaged_arrays_are_put_aside(tmp_path: Path) -> None:
    root = write_arrays(tmp_path / "set")
    whole = (root / "rain.npy").read_bytes()
    (root / "rain.npy").write_bytes(whole[: 128 + 768 * 12 + 300])
    (root / "x.npy").write_bytes(b"\x93NUMPY\x01\x00 nothing")
    np.save(root / "y.npy", np.zeros((4, 8, 8, 3), np.uint8))
    np.save(root / "z.npy", np.zeros((4, *SHAPE), np.float32))
    np.save(root / "zz.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    run = filter_stored(tmp_path / "run", Config(source="stored", images=str(root)), workers=1, quiet=True)
    rows = {row["prompt"]: row for row in run.findings()}
    assert (rows["rain"]["status"], rows["rain"]["generated"]) == ("none", 12)
    assert {p for p, r in rows.items() if r["status"] == "failed"} == {"x", "y", "z", "zz"}
    assert {q["source"]: q["reason"] for q in run.quarantine()} == {
        "rain.npy[12:30]": "truncated",
        "x.npy": "unreadable",
        "y.npy": "wrong-size",
        "z.npy": "dtype",
        "zz.npy": "dtype",
    }
    assert {p for p, r in rows.items() if r["status"] == "finding"} == set(MEMORISED)


def test_column_major_and_grey_arrays(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), dtype=np.uint8)
    np.save(tmp_path / "f.npy", np.asfortranarray(images))
    stored = StoredPrompts(tmp_path / "f.npy")
    assert stored.image_shape == (8, 8, 1)
    assert np.array_equal(read_all(stored, 0)[0], images)


def test_damaged_parquet_files_are_put_aside(tmp_path: Path) -> None:
    root = write_parquet(tmp_path / "set")
    (root / "2.parquet").write_bytes((root / "1.parquet").read_bytes()[:-20])
    data = bytearray((root / "0.parquet").read_bytes())
    pq.write_table(
        pa.table({"image": [encoded(generations(0, "rain")[1][0]), None], "prompt": ["rain", "rain"]}),
        root / "3.parquet",
    )
    stored = StoredPrompts(root)
    assert stored.prompts == ["a red fox", "rain", "two boats", "2"]
    rain = read_all(stored, 1)
    assert len(rain[0]) == COUNT + 1
    assert [b["source"] for b in rain[3]] == ["3.parquet, row group 0, row 1"]
    assert [b["reason"] for b in read_all(stored, 3)[3]] == ["unreadable"]
    middle = len(data) // 3
    data[middle : middle + 300] = bytes(300)
    (root / "0.parquet").write_bytes(data)
    pixels, _, _, broken = read_all(StoredPrompts(root), 0)
    assert len(broken) > 0
    assert len(pixels) + len(broken) == COUNT


def test_a_declared_background_and_the_common_size(tmp_path: Path) -> None:
    folder = tmp_path / "set" / "p"
    folder.mkdir(parents=True)
    (folder / "0.png").write_bytes(encoded(np.zeros((32, 32, 3), np.uint8)))
    for seed in range(1, 6):
        clear = np.random.default_rng(seed).integers(0, 256, (16, 16, 4), dtype=np.uint8)
        (folder / f"{seed}.png").write_bytes(encoded(clear))
    stored = StoredPrompts(tmp_path / "set", background=(255, 255, 255))
    assert stored.image_shape == (16, 16, 3), "the most common size, not the first"
    _, seeds, _, broken = read_all(stored, 0)
    assert seeds == [1, 2, 3, 4, 5]
    assert [b["reason"] for b in broken] == ["wrong-size"]
    assert StoredPrompts(tmp_path / "set").image_shape == (16, 16, 3)
    config = Config(source="stored", images=str(tmp_path / "set"), background="#ffffff")
    run = filter_stored(tmp_path / "run", config, workers=1, quiet=True)
    assert run.findings()[0]["generated"] == 5
    with pytest.raises(ConfigError, match="background"):
        filter_stored(
            tmp_path / "run", Config(source="stored", images=str(tmp_path / "set")), workers=1, quiet=True
        )
    with pytest.raises(ConfigError, match="background must look like #ffffff"):
        Config(source="stored", images="x", background="white")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda p: None, "holds neither images nor"),
        (lambda p: (p / "a.tar.gz").write_bytes(b"x"), "unpack a.tar.gz"),
        (
            lambda p: (
                write_arrays(p / "x"),
                (p / "x" / "0.tar").write_bytes(b""),
                (p / "x").rename(p / "y"),
            ),
            "keep one layout",
        ),
        (lambda p: pq.write_table(pa.table({"a": [1]}), p / "a.parquet"), "no column of image bytes"),
        (lambda p: (p / "a.npy").write_bytes(b"x"), "not one readable image"),
    ],
)
def test_what_cannot_be_read_is_said(make: Any, text: str, tmp_path: Path) -> None:
    make(tmp_path)
    with pytest.raises(ConfigError, match=text):
        StoredPrompts(tmp_path / "y" if (tmp_path / "y").exists() else tmp_path)


def test_prompt_files_must_fit(tmp_path: Path) -> None:
    root = write_arrays(tmp_path / "set")
    (root / "prompts.txt").write_text("one\ntwo\n")
    with pytest.raises(ConfigError, match="2 lines for 3 prompts"):
        StoredPrompts(root)
    (root / "prompts.txt").write_text("one\ntwo\nthree")
    assert StoredPrompts(root).prompts == ["one", "two", "three"]


def test_images_are_compared_where_they_were_read(tmp_path: Path) -> None:
    """The graph of a reused room is that of copies, also after a larger prompt, and with constant images in between."""
    from memcore import PromptGraph, tiled_l2_graph

    rng = np.random.default_rng(0)
    root = tmp_path / "set"
    root.mkdir()
    whole = {}
    for name, count in (("a", 40), ("b", 90), ("c", 12)):
        images = rng.integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
        images[5:9] = images[4]
        images[7] = 9
        whole[name] = images
        np.save(root / f"{name}.npy", images)
    stored = StoredPrompts(root)
    for prompt_id, name in enumerate(stored.prompts):
        room = stored.room(stored.count(prompt_id))
        graph = PromptGraph(stored.image_shape, 0.2, channels="last", room=room)
        for pixels, _, constant, _ in stored.read(prompt_id):
            graph.extend(pixels, exclude=constant)
        edges = tiled_l2_graph(whole[name], 0.2, channels="last").edges
        expected = edges[(edges != 7).all(axis=1)]
        assert len(expected) == 6
        assert np.array_equal(graph.graph().edges, expected)
        assert np.array_equal(room[:7], whole[name][:7]), "nothing was copied elsewhere"
        assert np.array_equal(room[7], whole[name][8])
        assert np.array_equal(graph.pixels(8), whole[name][8])
        assert np.shares_memory(graph._pixels, room)
