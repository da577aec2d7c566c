"""Small files that claim, or take, far more than they hold: refused by name, at once. tests/FAULTS.md lists them."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.support.command_line import encoded, index, noise, png, write_tar


def jpeg(**options: object) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(noise(1)[0]).save(sink, "jpeg", **options)
    return sink.getvalue()


def chunk(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def many_chunks() -> bytes:
    data = png()
    begin = data.index(b"IDAT") - 4
    return data[:begin] + 300_000 * chunk(b"tEXt") + data[begin:]


def many_scans() -> bytes:
    """70 scans of an image that says to have 4,200 x 4,200 pixels."""
    data = bytearray(jpeg(progressive=True))
    frame = data.index(b"\xff\xc2")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 4200, 4200)
    last = data.rindex(b"\xff\xda")
    return bytes(data[:last]) + 70 * bytes(data[last:-2]) + b"\xff\xd9"


def many_segments() -> bytes:
    data = jpeg()
    return data[:2] + 70_000 * b"\xff\xfe\x00\x02" + data[2:]


@pytest.mark.parametrize(
    ("name", "make"), [("b.png", many_chunks), ("b.jpg", many_scans), ("c.jpg", many_segments)]
)
def test_an_image_that_takes_long_is_refused(tmp_path: Path, name: str, make: Callable[[], bytes]) -> None:
    root = tmp_path / "train"
    root.mkdir()
    (root / "a.png").write_bytes(png())
    (root / name).write_bytes(make())
    assert index(tmp_path / "index", root).left_out == {name: "too-large"}


def test_filler_in_a_jpeg_takes_no_time(tmp_path: Path) -> None:
    root = tmp_path / "train"
    root.mkdir()
    data = jpeg()
    (root / "a.jpg").write_bytes(data[:2] + 40_000_000 * b"\xff" + data[2:])
    begin = time.process_time()
    held = index(tmp_path / "index", root)
    assert time.process_time() - begin < 2  # a loop in Python over each byte takes several
    assert [name for name, _ in held.images] == ["a.jpg"]


@pytest.mark.parametrize(
    "headers",
    [{"comment": "x" * 2_000_000}, {"comment": "1" * 100_000}],
    ids=["two megabytes", "a number of 100,000 digits"],
)
def test_a_long_header_of_a_tar_costs_the_rest(tmp_path: Path, headers: dict[str, str]) -> None:
    members = [("0.png", png(0)), ("1.png", png(1), {"pax_headers": headers}), ("2.png", png(2))]
    write_tar(tmp_path / "train" / "0.tar", members)
    held = index(tmp_path / "index", tmp_path / "train")
    assert held.left_out == {"0.tar/(the rest)": "archive"}
    assert [name for name, _ in held.images] == ["0.tar/0.png"]


@pytest.mark.parametrize("kind", ["one byte each", "null", "objects of null"])
def test_a_table_that_claims_many_rows_is_one_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(pytest.importorskip("memcore.sources.parquet"), "_FREE_ROWS", 1_000)
    count = 6_000
    column = {
        "one byte each": pa.array([b"x"], pa.binary()).take(pa.array(np.zeros(count, np.int32))),
        "null": pa.nulls(count, pa.binary()),
        "objects of null": pa.nulls(count, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    }[kind]
    root = tmp_path / "train"
    root.mkdir()
    pq.write_table(pa.table({"image": column}), root / "0.parquet", row_group_size=1_000)
    good = pa.array([png()], pa.binary()) if kind != "objects of null" else [{"bytes": png(), "path": None}]
    pq.write_table(pa.table({"image": good}), root / "1.parquet")
    held = index(tmp_path / "index", root)
    reason = "archive" if kind == "one byte each" else "no-image"
    assert len(held.images) == 1
    assert f"pointed at {count + 1}: used 1, left out {count}" in held.said.out
    claimed = {name: why for name, why in held.left_out.items() if " to " in name}
    assert set(claimed.values()) == {reason}
    assert len(claimed) == 5, "of six groups of rows the first is read"


def test_many_duplicates_of_an_image_are_read(tmp_path: Path) -> None:
    """Rows that take few bytes are no claim as long as they are few."""
    many = pa.array([encoded(noise(1)[0])], pa.binary()).take(pa.array(np.zeros(2_000, np.int32)))
    pq.write_table(pa.table({"image": many}), tmp_path / "a.parquet")
    assert len(index(tmp_path / "index", tmp_path / "a.parquet").images) == 2_000


def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pytest.importorskip("memcore.sources.npy"), "_PACKED_BYTES", 1 << 18)
    root = tmp_path / "train"
    root.mkdir()
    np.savez_compressed(root / "0.npz", images=np.zeros((2000, 16, 16, 3), np.uint8))
    np.savez_compressed(root / "1.npz", images=noise(500))
    held = index(tmp_path / "index", root)
    assert held.left_out == {"0.npz": "too-large"}
    assert len(held.images) == 500
