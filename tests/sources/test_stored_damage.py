"""Stored generations that are damaged or misleading: only these are quarantined, each with a reason."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from memcore.audit import filter_stored
from memcore.errors import ConfigError
from memcore.runs.config import Config
from memcore.runs.summary import summary
from memcore.sources.by_prompt import StoredPrompts
from tests.support.stored_sets import COUNT, add, encoded, generations, read_all, write_parquet


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
    assert [b["reason"] for b in broken] == ["truncated", "archive"]
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
    _, seeds, _, refused = read_all(stored, 0)
    assert seeds == [4]
    assert {entry["reason"] for entry in refused} == {"caption"}
    # Of each such sample the text and its image, which would else be counted for another prompt
    assert len(refused) == 2 * (len(texts) - len(seeds))


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
    assert [b["reason"] for b in read_all(stored, 3)[3]] == ["archive"]
    assert [b["reason"] for b in rain[3]] == ["no-image"]
    middle = len(data) // 3
    data[middle : middle + 300] = bytes(300)
    (root / "0.parquet").write_bytes(data)
    pixels, _, _, broken = read_all(StoredPrompts(root), 0)
    assert len(broken) > 0
    assert len(pixels) + len(broken) == COUNT
