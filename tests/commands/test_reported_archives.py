"""Archives and tables as people have them: nothing in them is lost without a word. tests/FAULTS.md lists the situations."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.command_line import (
    encoded,
    filter_images,
    index,
    memcore,
    noise,
    png,
    write_copies,
    write_tar,
)
from tests.support.odd_sets import APPLE, DEEP


def names(found: list[tuple[str, str | None]]) -> list[str]:
    return [name for name, _ in found]


def test_dots_in_names_hide_no_image(tmp_path: Path) -> None:
    pictures = noise(20)
    members = [(f"Screenshot 2024.05.{i:02d}.png", encoded(p)) for i, p in enumerate(pictures)]
    write_tar(tmp_path / "train" / "0.tar", members)
    held = index(tmp_path / "index", tmp_path / "train")
    assert names(held.images) == [f"0.tar/Screenshot 2024.05.{i:02d}.png" for i in range(20)]
    filter_images(tmp_path / "run", write_copies(tmp_path / "images", pictures[3]))
    assert (
        "1 of 1 finding"
        in memcore("match", tmp_path / "run", "--index", tmp_path / "index", "--trust-paths").out
    )


@pytest.mark.parametrize(
    ("members", "images"),
    [
        ([(f"{i}.{s}.png", png(2 * i + len(s))) for i in range(3) for s in ("left", "right")], 6),
        ([(f"{i}.{s}", png(2 * i + len(s))) for i in range(3) for s in ("jpg", "mask.png")], 6),
        ([("0.png", png(0)), ("0.png", png(1))], 2),
        ([(f"{i}.png.data", png(i)) for i in range(3)], 3),
    ],
)
def test_every_image_of_a_sample_is_used(
    tmp_path: Path, members: list[tuple[str, bytes]], images: int
) -> None:
    write_tar(tmp_path / "train" / "0.tar", members)
    held = index(tmp_path / "index", tmp_path / "train")
    assert len(held.images) + len(held.left_out) == images
    assert len(held.images) == images


def test_a_caption_belongs_to_the_image_of_its_whole_stem(tmp_path: Path) -> None:
    members = []
    for i in range(4):
        members += [(f"shot 1.{i}.png", png(i)), (f"shot 1.{i}.txt", f"caption {i}".encode())]
    write_tar(tmp_path / "images" / "0.tar", members)
    assert index(tmp_path / "index", tmp_path / "images").captions == [f"caption {i}" for i in range(4)]
    assert filter_images(tmp_path / "run", tmp_path / "images").generated == {
        f"caption {i}": 1 for i in range(4)
    }


def test_what_macos_puts_beside_files_is_no_image_and_no_caption(tmp_path: Path) -> None:
    members = []
    for i in range(3):
        for suffix, data in (("png", png(i)), ("txt", f"caption {i}".encode())):
            members += [(f"._{i}.{suffix}", APPLE), (f"{i}.{suffix}", data)]
    write_tar(tmp_path / "images" / "0.tar", members)
    held = index(tmp_path / "index", tmp_path / "images")
    assert held.captions == ["caption 0", "caption 1", "caption 2"]
    assert set(held.left_out.values()) == {"system"}
    done = filter_images(tmp_path / "run", tmp_path / "images")
    assert {p: row["status"] for p, row in done.rows.items()} == {f"caption {i}": "none" for i in range(3)}


def test_a_hard_link_is_told_as_a_link(tmp_path: Path) -> None:
    link = {"type": b"1", "linkname": "0.png"}
    members = [("0.png", png()), ("1.png", b"", link), ("2.png", b"", {"type": b"1", "linkname": "1.png"})]
    write_tar(tmp_path / "train" / "0.tar", members)
    held = index(tmp_path / "index", tmp_path / "train")
    assert held.left_out == {"0.tar/1.png": "path", "0.tar/2.png": "path"}


def test_long_metadata_is_read(tmp_path: Path) -> None:
    members: list[tuple[Any, ...]] = []
    for i, prompt in enumerate(("a fox", "a hill")):
        text = json.dumps({"prompt": prompt, "seed": 5 + i, "workflow": "x" * 70_000}).encode()
        members += [(f"{i}.png", png(i)), (f"{i}.json", text)]
    write_tar(tmp_path / "images" / "0.tar", members)
    assert filter_images(tmp_path / "run", tmp_path / "images").generated == {"a fox": 1, "a hill": 1}


def test_an_unreadable_caption_gives_its_images_to_no_other_prompt(tmp_path: Path) -> None:
    members: list[tuple[Any, ...]] = [("0.png", png(0)), ("0.txt", b"a fox")]
    members += [("1.png", png(1)), ("1.txt", "thé".encode("latin-1"))]
    write_tar(tmp_path / "images" / "0.tar", members)
    done = filter_images(tmp_path / "run", tmp_path / "images")
    assert done.generated["a fox"] == 1
    assert sum(done.generated.values()) == 1
    assert done.left_out["0.tar/1.txt"] == "caption"


@pytest.mark.parametrize("name", ["shard.tar", "shard.tar.gz"])
def test_a_compressed_archive_is_called_so(tmp_path: Path, name: str) -> None:
    whole = write_tar(tmp_path / "x.tar", [("0.png", png())]).read_bytes()
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / name).write_bytes(gzip.compress(whole))
    said = index(tmp_path / "index", tmp_path / "train").said
    assert (said.code, "compressed" in said.err) == (2, True)
    (tmp_path / "train" / "good.tar").write_bytes(whole)
    held = index(tmp_path / "index-2", tmp_path / "train")
    assert "archive" in held.left_out.values()
    assert names(held.images) == ["good.tar/0.png"]


@pytest.mark.parametrize("text", [DEEP, b'{"caption": ' + DEEP, b'{"caption": "a", "n": ' + b"9" * 5000])
def test_json_that_python_cannot_read_is_no_caption(tmp_path: Path, text: bytes) -> None:
    write_tar(tmp_path / "train" / "0.tar", [("0.png", png()), ("0.json", text)])
    held = index(tmp_path / "index", tmp_path / "train")
    assert held.said.code in (0, 5), held.said
    assert held.left_out == {"0.tar/0.json": "caption"}


def test_a_header_that_is_no_number_costs_the_rest_of_its_archive(tmp_path: Path) -> None:
    sparse = {f"GNU.sparse.{name}": value for name, value in (("major", "1"), ("minor", "0"))}
    sparse |= {"GNU.sparse.name": "1.png", "GNU.sparse.realsize": "10"}
    members = [("0.png", png(0)), ("1.png", png(1), {"pax_headers": sparse}), ("2.png", png(2))]
    write_tar(tmp_path / "train" / "0.tar", members)
    held = index(tmp_path / "index", tmp_path / "train")
    assert (held.said.code, held.left_out) == (5, {"0.tar/(the rest)": "archive"})
    assert names(held.images) == ["0.tar/0.png"]


def test_a_sparse_member_is_told_and_matches_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "bmp"
    folder.mkdir()
    black = np.zeros((256, 256, 3), np.uint8)
    black[:4] = 200
    with (folder / "0.bmp").open("wb") as file:  # with a hole, where the file system has any
        data = encoded(black, "bmp")
        head = data.find(bytes(4096))
        file.write(data[:head])
        file.seek(len(data) - 64 * 1024)
        file.write(data[-64 * 1024 :])
    (folder / "1.bmp").write_bytes(
        encoded(np.random.default_rng(1).integers(0, 256, (256, 256, 3), dtype=np.uint8), "bmp")
    )
    (tmp_path / "train").mkdir()
    packed = subprocess.run(
        ["tar", "-S", "-cf", tmp_path / "train" / "0.tar", "0.bmp", "1.bmp"], cwd=folder, check=False
    )
    if packed.returncode or not _is_sparse(tmp_path / "train" / "0.tar"):
        pytest.skip("tar makes no sparse members here")
    held = index(tmp_path / "index", tmp_path / "train")
    assert held.left_out == {"0.tar/0.bmp": "path"}


def _is_sparse(path: Path) -> bool:
    import tarfile

    with tarfile.open(path) as tar:
        return any(member.sparse for member in tar)


@pytest.mark.parametrize("suffix", [".tar", ".parquet"])
def test_a_shard_of_no_bytes_is_told(tmp_path: Path, suffix: str) -> None:
    root = tmp_path / "train"
    if suffix == ".tar":
        write_tar(root / "0.tar", [("0.png", png())])
    else:
        root.mkdir()
        pq.write_table(pa.table({"image": [png()]}), root / "0.parquet")
    (root / f"1{suffix}").write_bytes(b"")
    held = index(tmp_path / "index", root)
    assert list(held.left_out.values()) == ["archive"]
    assert "1 archive" in held.said.out


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@pytest.mark.parametrize("name", ["1.tar", "1.parquet", "1.npy", "x.png", "0.txt"])
def test_no_command_waits_for_a_pipe(tmp_path: Path, name: str) -> None:
    root = tmp_path / "train"
    suffix = Path(name).suffix
    if suffix == ".tar":
        write_tar(root / "0.tar", [("0.png", png())])
    elif suffix == ".parquet":
        root.mkdir()
        pq.write_table(pa.table({"image": [png()]}), root / "0.parquet")
    else:
        root.mkdir()
        if suffix == ".npy":
            np.save(root / "0.npy", noise(2))
        else:
            (root / "0.png").write_bytes(png())
    os.mkfifo(root / name)
    code = "import sys; from memcore.cli import main; sys.exit(main(sys.argv[1:]))"
    import sys

    done = subprocess.run(
        [sys.executable, "-c", code, "index", tmp_path / "index", "--source", root, "--quiet"],
        capture_output=True,
        timeout=60,
    )
    assert done.returncode in (0, 5), done.stderr
    assert b"path" in done.stdout


def test_archives_that_follow_one_another_are_read_on(tmp_path: Path) -> None:
    """``cat a.tar b.tar``, and an empty block between two members, as ``tar -i`` reads them."""
    first = write_tar(tmp_path / "a.tar", [("0.png", png(0))]).read_bytes()
    second = write_tar(tmp_path / "b.tar", [("1.png", png(1)), ("1.txt", b"a fox")]).read_bytes()
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "0.tar").write_bytes(first + second)
    cut = first.rstrip(b"\0")
    cut += bytes(-len(cut) % 512) + bytes(512)
    (tmp_path / "train" / "1.tar").write_bytes(cut + second)
    held = index(tmp_path / "index", tmp_path / "train")
    assert names(held.images) == ["0.tar/0.png", "0.tar/1.png", "1.tar/0.png", "1.tar/1.png"]
    assert held.captions[1] == "a fox"
    assert held.left_out == {}
    again = index(tmp_path / "resumed", tmp_path / "train", "--shard-images", 1)
    assert again.images == held.images


def test_bytes_behind_the_end_of_an_archive_are_told(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "train" / "0.tar", [("0.png", png(0))])
    path.write_bytes(path.read_bytes() + b"what is this? " * 100)
    held = index(tmp_path / "index", tmp_path / "train")
    assert (names(held.images), held.left_out) == (["0.tar/0.png"], {"0.tar/(the rest)": "archive"})
