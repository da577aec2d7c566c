"""What stored files hold, told cheaply: other content of the same size and times is noticed, another place is not."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from memcore.sources.by_prompt import StoredPrompts
from memcore.sources.content import (
    BLOCK_BYTES,
    LEAST_BLOCKS,
    FileContent,
    count_blocks,
    read_content,
    sample_bytes,
)
from tests.support.stored_sets import LAYOUTS, add

WHOLE = LEAST_BLOCKS * BLOCK_BYTES


@pytest.mark.parametrize("size", [0, 1, 4095, WHOLE - 1, WHOLE, WHOLE + 1, WHOLE + BLOCK_BYTES, 10 * WHOLE])
def test_a_file_has_the_digest_of_its_content(tmp_path: Path, size: int) -> None:
    data = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8).tobytes()
    (tmp_path / "a").write_bytes(data)
    found = read_content(tmp_path / "a")
    assert found == FileContent(size, os.stat(tmp_path / "a").st_mtime_ns, sample_bytes(data))


def test_every_byte_of_a_small_file_counts() -> None:
    data = bytes(WHOLE)
    known = sample_bytes(data)
    for at in [*range(0, WHOLE, 997), WHOLE - 1]:
        assert sample_bytes(data[:at] + b"\1" + data[at + 1 :]) != known


@pytest.mark.parametrize("blocks", [16, 100, 4096])
def test_a_run_of_changed_bytes_as_long_as_two_gaps_counts(blocks: int) -> None:
    size = 3 * blocks * BLOCK_BYTES + 12345
    data = bytearray(size)
    known = sample_bytes(bytes(data), blocks)
    gap = size // (blocks - 1) + 1
    for start in (0, 1, size // 3, size // 2, size - gap):
        changed = data.copy()
        changed[start : start + gap] = b"\1" * len(changed[start : start + gap])
        assert sample_bytes(bytes(changed), blocks) != known


def test_what_cannot_be_opened_has_no_digest(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("pipe", "link", "none", "."):
        assert read_content(tmp_path / name).sample == b"", name
    assert [count_blocks(n) for n in (0, 10**9)] == [4096, 8]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_another_place_is_the_same_set(tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """N-X24, row 28: renamed, moved, linked, touched, or named from elsewhere."""
    given = LAYOUTS[layout](tmp_path / "gens")
    within = given.relative_to(tmp_path / "gens")
    known, prompts = StoredPrompts(given).fingerprint, StoredPrompts(given).prompts
    shutil.copytree(tmp_path / "gens", tmp_path / "other" / "deep")
    (tmp_path / "link").symlink_to(tmp_path / "gens")
    for file in (tmp_path / "other").rglob("*"):
        os.utime(file, ns=(1, 1))
    places = [tmp_path / "other" / "deep", tmp_path / "link", tmp_path / "gens" / ".." / "gens"]
    monkeypatch.chdir(tmp_path)
    places.append(Path("gens"))
    for place in places:
        stored = StoredPrompts(place / within)
        assert (stored.fingerprint, stored.prompts) == (known, prompts), place
    if given.is_dir():
        inner = next((sub for sub in sorted(given.iterdir()) if sub.is_dir()), given)
        for start, place in (
            (given, "."),
            (given, f"../{given.name}"),
            (inner, "." if inner == given else ".."),
        ):
            monkeypatch.chdir(start)
            stored = StoredPrompts(Path(place))
            assert (stored.fingerprint, stored.prompts) == (known, prompts), place


def test_one_folder_of_images_is_called_by_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = LAYOUTS["folders"](tmp_path / "gens") / "rain"
    known = StoredPrompts(folder)
    (tmp_path / "link").symlink_to(folder)
    (folder / "sub").mkdir()
    for start, name in ((folder, "."), (folder / "sub", ".."), (tmp_path, "link"), (tmp_path, "gens/rain/.")):
        monkeypatch.chdir(start)
        stored = StoredPrompts(Path(name))
        assert (stored.prompts, stored.fingerprint) == (["rain"], known.fingerprint), name
    assert known.prompts == ["rain"]


def bmp(image: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, "bmp")
    return sink.getvalue()


def write_bmp(folder: Path, images: np.ndarray) -> None:
    (folder / "a fox").mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        (folder / "a fox" / f"{i}.bmp").write_bytes(bmp(image))


def write_tar(folder: Path, images: np.ndarray) -> None:
    with tarfile.open(folder / "g.tar", "w") as tar:
        for i, image in enumerate(images):
            add(tar, f"{i}.bmp", bmp(image))


def write_parquet(folder: Path, images: np.ndarray) -> None:
    table = pa.table({"image": [bmp(image) for image in images], "prompt": ["a fox"] * len(images)})
    pq.write_table(
        table, folder / "g.parquet", compression="none", use_dictionary=False, write_statistics=False
    )


KINDS: dict[str, Callable[[Path, np.ndarray], None]] = {
    "npy": lambda folder, images: np.save(folder / "a fox.npy", images),
    "bmp": write_bmp,
    "tar": write_tar,
    "parquet": write_parquet,
}


@pytest.mark.parametrize("side", [32, 128])
@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_another_model_under_the_same_names_sizes_and_times(
    tmp_path: Path, kind: str, side: int
) -> None:
    """Row 27: whatever a new run of the generator leaves as it was, but the pictures."""
    rng = np.random.default_rng(side)
    folder = tmp_path / "gens"
    folder.mkdir()
    known = []
    for _ in range(2):
        KINDS[kind](folder, rng.integers(0, 256, (6, side, side, 3), dtype=np.uint8))
        for file in folder.rglob("*"):
            os.utime(file, ns=(10**18, 10**18))
        sizes = [file.stat().st_size for file in sorted(folder.rglob("*")) if file.is_file()]
        stored = StoredPrompts(folder)
        known.append((sizes, stored.fingerprint, stored.describe()["content of the files"]))
    assert known[0][0] == known[1][0]
    assert known[0][1] != known[1][1]
    assert known[0][2] != known[1][2]


def test_one_prompt_of_an_array_of_many(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (100, 20, 16, 16, 3), dtype=np.uint8)
    np.save(tmp_path / "all.npy", images)
    known = StoredPrompts(tmp_path / "all.npy").fingerprint
    images[57, 3, 5, 5] ^= 1
    np.save(tmp_path / "all.npy", images)
    assert StoredPrompts(tmp_path / "all.npy").fingerprint != known
