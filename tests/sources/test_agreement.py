"""Whichever command reads stored images, it sees the same ones in the same order, under the same names and reasons."""

from __future__ import annotations

import ast
import json
import re
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import memcore
from memcore.errors import ConfigError, RunError
from memcore.images import REASONS
from memcore.index import Index, build_index, open_source
from memcore.jobs.stored import StoredPrompts, load_training_set
from memcore.runs.prompts import read_prompts
from tests.support.index_sets import write_meta
from tests.support.stored_sets import Pixels, add, encoded, read_all

PACKAGE = Path(memcore.__file__).parent


def pictures(count: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)


IMAGES = pictures(24)
#: Which of ``IMAGES`` these pixels are.
NUMBERS = {image.tobytes(): i for i, image in enumerate(IMAGES)}


def png(number: int) -> bytes:
    return encoded(IMAGES[number])


def by_filter(path: Path) -> tuple[list[int], dict[str, list[int]], list[tuple[str, str]]]:
    """(images in order, those of each prompt, (source, reason) of what is quarantined) as ``memcore filter`` reads."""
    stored = StoredPrompts(path)
    prompts: dict[str, list[int]] = {}
    broken: list[tuple[str, str]] = []
    for prompt_id, prompt in enumerate(stored.prompts):
        pixels, _, _, gone = read_all(stored, prompt_id)
        prompts[prompt] = [NUMBERS[image.tobytes()] for image in pixels]
        broken.extend((entry["source"], entry["reason"]) for entry in gone)
        assert stored.count(prompt_id) >= len(pixels)
    return [number for numbers in prompts.values() for number in numbers], prompts, broken


def by_index(
    path: Path, folder: Path
) -> tuple[list[int], dict[str | None, list[int]], list[tuple[str, str]]]:
    """Return what ``memcore index`` reads, images by their captions."""
    build_index(folder, open_source(path), shard_images=3)
    index = Index.open(folder)
    rows = np.arange(len(index))
    numbers = [NUMBERS[image.tobytes()] for image in index.fetch(rows)]
    captions: dict[str | None, list[int]] = {}
    for number, caption in zip(numbers, index.captions(range(len(index))), strict=True):
        captions.setdefault(caption, []).append(number)
    return numbers, captions, [(row["source"], row["reason"]) for row in index.quarantine()]


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            add(tar, name, data)
    return path


def test_a_sample_with_several_images_loses_none(tmp_path: Path) -> None:
    members = [
        ("0.left.png", png(0)),
        ("0.right.png", png(1)),
        ("0.txt", b"a fox"),
        ("shot 2024.05.01.png", png(2)),
        ("shot 2024.05.02.png", png(3)),
        ("1.png", png(4)),
        ("1.png", png(5)),
    ]
    write_tar(tmp_path / "set" / "0.tar", members)
    filtered, indexed = by_filter(tmp_path / "set"), by_index(tmp_path / "set", tmp_path / "index")
    assert indexed[0] == [0, 1, 2, 3, 4, 5]
    assert filtered[0] == indexed[0]
    assert (filtered[1]["a fox"], indexed[1]["a fox"]) == ([0, 1], [0, 1])
    assert filtered[2] == indexed[2] == []
    assert Index.open(tmp_path / "index").names(range(2)) == ["0.tar/0.left.png", "0.tar/0.right.png"]


def test_an_index_stops_and_resumes_between_the_images_of_a_sample(tmp_path: Path) -> None:
    members = [(f"{i // 4}.{'abcd'[i % 4]}.png", png(i)) for i in range(12)]
    source = write_tar(tmp_path / "set" / "0.tar", members).parent
    build_index(tmp_path / "whole", open_source(source), shard_images=3)

    class Stop(Exception):
        pass

    for shards in range(1, 4):
        folder = tmp_path / f"stopped-{shards}"

        def stop(images: int, broken: int) -> None:
            raise Stop

        build_index(folder, open_source(source), shard_images=3)
        entry = json.loads((folder / "index.json").read_text())
        for key in ("shards", "images", "quarantined"):
            del entry["sources"][0][key]
        write_meta(folder, entry)
        for shard in range(shards, 4):
            for file in (folder / f"shard-{shard:06d}").iterdir():
                file.unlink()
            (folder / f"shard-{shard:06d}").rmdir()
        build_index(folder, open_source(source), shard_images=3)
        for file in sorted((tmp_path / "whole").rglob("*")):
            if file.is_file() and file.name != ".lock":
                assert (folder / file.relative_to(tmp_path / "whole")).read_bytes() == file.read_bytes()


def test_what_is_no_plain_file_of_its_archive_is_quarantined(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with tarfile.open(tmp_path / "set" / "0.tar", "w") as tar:
        add(tar, "0.png", png(0))
        add(tar, "1.png", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(tar, "2.png", b"", type=tarfile.LNKTYPE, linkname="0.png")
        add(tar, "3.png", b"", type=tarfile.FIFOTYPE)
        add(tar, "../4.png", png(1))
        add(tar, "/5.png", png(1))
        add(tar, "6.png", png(2))
    filtered, indexed = by_filter(tmp_path / "set"), by_index(tmp_path / "set", tmp_path / "index")
    assert filtered[0] == indexed[0] == [0, 2]
    names = ["0.tar/1.png", "0.tar/2.png", "0.tar/3.png", "0.tar/../4.png", "0.tar//5.png"]
    assert filtered[2] == indexed[2] == [(name, "path") for name in names]


@pytest.mark.parametrize("kind", ["images", "tars", "arrays"])
def test_a_folder_has_one_order(kind: str, tmp_path: Path) -> None:
    """ "-" and " " sort before "/", so that names as a whole and their parts are in different orders."""
    root = tmp_path / "set"
    for number, name in enumerate(["cat", "cat 2", "cat-2", "dog"]):
        (root / name).mkdir(parents=True)
        if kind == "images":
            (root / name / "0.png").write_bytes(png(2 * number))
            (root / name / "1.png").write_bytes(png(2 * number + 1))
        elif kind == "tars":
            write_tar(root / name / "0.tar", [("0.png", png(2 * number)), ("1.png", png(2 * number + 1))])
        else:
            np.save(root / name / "0.npy", IMAGES[2 * number : 2 * number + 2])
    assert by_index(root, tmp_path / "index")[0] == list(range(8))
    if kind == "images":
        assert by_filter(root)[0] == list(range(8))
        images, names, broken = load_training_set(root)
        assert [NUMBERS[image.tobytes()] for image in images] == list(range(8))
        assert names == Index.open(tmp_path / "index").names(range(8))
        assert broken == []


def test_an_index_in_the_earlier_order_is_read_resumed_and_added_to(tmp_path: Path) -> None:
    """Names of the test are in both orders; the identity is that of the order in which whole names sort."""
    root = tmp_path / "set"
    for number, name in enumerate(["cat-2", "cat"]):
        (root / name).mkdir(parents=True)
        for i in range(2):
            (root / name / f"{i}.png").write_bytes(png(2 * number + i))
    source = open_source(root)
    earlier = getattr(source, "in_earlier_order", lambda: source)()
    assert earlier is not None
    build_index(tmp_path / "index", earlier, shard_images=2)
    assert [NUMBERS[i.tobytes()] for i in Index.open(tmp_path / "index").fetch(np.arange(4))] == [0, 1, 2, 3]
    written = json.loads((tmp_path / "index" / "index.json").read_text())
    assert written["sources"][0]["options"] == {}
    last = tmp_path / "index" / "shard-000001"
    kept = {file.name: file.read_bytes() for file in last.iterdir()}
    for file in last.iterdir():
        file.unlink()
    last.rmdir()
    build_index(tmp_path / "index", open_source(root), shard_images=2)
    assert {file.name: file.read_bytes() for file in last.iterdir()} == kept
    np.save(tmp_path / "more.npy", IMAGES[4:6])
    build_index(tmp_path / "index", open_source(tmp_path / "more.npy"), shard_images=2)
    build_index(tmp_path / "index", open_source(root), shard_images=2)
    index = Index.open(tmp_path / "index")
    assert [NUMBERS[image.tobytes()] for image in index.fetch(np.arange(6))] == list(range(6))


def test_reasons_agree(tmp_path: Path) -> None:
    """Cut and damaged archives, missing bytes, samples and rows without an image: one code each."""
    root = tmp_path / "tars"
    write_tar(root / "a.tar", [(f"{i}.png", png(i)) for i in range(4)])
    whole = (root / "a.tar").read_bytes()
    with tarfile.open(root / "a.tar") as tar:
        third = tar.getmembers()[2]
    (root / "a.tar").write_bytes(whole[: third.offset_data + 100])
    (root / "b.tar").write_bytes(whole[: third.offset] + b"\xff" * 1024 + whole[third.offset :])
    (root / "c.tar").write_bytes(b"x" * 2000)
    write_tar(root / "d.tar", [("5.txt", b"no image"), ("6.png", png(6))])
    (root / "e.tar").write_bytes(b"")
    filtered, indexed = by_filter(root), by_index(root, tmp_path / "index")
    assert filtered[0] == indexed[0] == [0, 1, 0, 1, 6]
    assert sorted(filtered[2]) == sorted(indexed[2])
    assert sorted(indexed[2]) == [
        ("a.tar/(the rest)", "archive"),
        ("a.tar/2.png", "truncated"),
        ("b.tar/(the rest)", "archive"),
        ("c.tar/(the rest)", "archive"),
        ("d.tar/5", "no-image"),
        ("e.tar/(the rest)", "archive"),
    ]
    tables = tmp_path / "tables"
    tables.mkdir()
    pq.write_table(pa.table({"image": [png(0), None, png(1)]}), tables / "a.parquet")
    (tables / "b.parquet").write_bytes((tables / "a.parquet").read_bytes()[:-20])
    filtered, indexed = by_filter(tables), by_index(tables, tmp_path / "index2")
    assert filtered[0] == indexed[0] == [0, 1]
    assert (
        [reason for _, reason in filtered[2]]
        == [reason for _, reason in indexed[2]]
        == ["no-image", "archive"]
    )
    arrays = tmp_path / "arrays"
    arrays.mkdir()
    np.save(arrays / "a.npy", IMAGES[:4])
    data = (arrays / "a.npy").read_bytes()
    (arrays / "a.npy").write_bytes(data[:-100])
    np.save(arrays / "b.npy", IMAGES[:2].astype(np.float32))
    (arrays / "c.npy").write_bytes(b"\x93NUMPY no header")
    np.save(arrays / "d.npy", IMAGES[4:6])
    filtered, indexed = by_filter(arrays), by_index(arrays, tmp_path / "index3")
    assert filtered[0] == indexed[0] == [0, 1, 2, 4, 5]
    assert (
        filtered[2]
        == indexed[2]
        == [("a.npy[3:4]", "truncated"), ("b.npy", "dtype"), ("c.npy", "unreadable")]
    )
    images, names, broken = load_training_set(arrays / "a.npy")
    assert [NUMBERS[image.tobytes()] for image in images] == [0, 1, 2]
    assert names == ["0", "1", "2"]
    assert [(entry["source"], entry["reason"]) for entry in broken] == [("a.npy[3:4]", "truncated")]


def test_every_reason_is_listed(tmp_path: Path) -> None:
    """Each code that the code can give is in ``REASONS`` and in docs/formats.md, and nothing else is."""
    given: set[str] = set()
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and "UnreadableImage" in ast.unparse(node.func):
                assert node.args, ast.unparse(node)
                given |= {
                    n.value
                    for n in ast.walk(node.args[0])
                    if isinstance(n, ast.Constant) and isinstance(n.value, str)
                }
    # decode() picks one of these by what the decoder says
    given |= {"truncated", "unreadable"}
    assert given == set(REASONS)
    text = (PACKAGE.parent / "docs" / "formats.md").read_text()
    listed = text.split("| reason | meaning |", 1)[1].split("\n\n", 1)[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", listed, re.MULTILINE)) == set(REASONS)


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".txt", "a fox\n"),
        (".caption", "a fox"),
        (".json", json.dumps({"prompt": "a fox", "caption": "never", "text": "never"})),
        (".json", json.dumps({"caption": "a fox", "text": "never"})),
        (".json", json.dumps({"text": "a fox"})),
    ],
)
def test_captions_are_found_under_the_same_names(suffix: str, text: str, tmp_path: Path) -> None:
    write_tar(
        tmp_path / "set" / "0.tar", [("0.png", png(0)), (f"0{suffix}", text.encode()), ("1.png", png(1))]
    )
    assert by_filter(tmp_path / "set")[1] == {"a fox": [0], "0": [1]}
    assert by_index(tmp_path / "set", tmp_path / "index")[1] == {"a fox": [0], None: [1]}
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "0.png").write_bytes(png(0))
    (folder / f"0{suffix}").write_text(text)
    assert by_index(folder, tmp_path / "index2")[1] == {"a fox": [0]}


def test_captions_need_not_stand_beside_their_images(tmp_path: Path) -> None:
    """``tar`` packs a folder in the order of its directory."""
    members = [("1.txt", b"two"), ("0.png", png(0)), ("2.txt", b""), ("1.png", png(1)), ("0.txt", b"one")]
    write_tar(tmp_path / "set" / "0.tar", members)
    assert by_filter(tmp_path / "set")[1] == {"one": [0], "two": [1]}
    assert by_index(tmp_path / "set", tmp_path / "index")[1] == {"one": [0], "two": [1]}
    assert by_filter(tmp_path / "set")[2] == quarantined(tmp_path / "index") == [("0.tar/2", "no-image")]


def quarantined(folder: Path) -> list[tuple[str, str]]:
    return [(row["source"], row["reason"]) for row in Index.open(folder).quarantine()]


@pytest.mark.parametrize("names", [("prompt", "caption", "text"), ("caption", "text"), ("text", "prompt")])
def test_the_column_of_captions_is_the_same_everywhere(names: tuple[str, ...], tmp_path: Path) -> None:
    wanted = next(name for name in ("prompt", "caption", "text") if name in names)
    columns = {name: [f"{name} of {i}" for i in range(2)] for name in names}
    table = tmp_path / "set" / "a.parquet"
    table.parent.mkdir()
    pq.write_table(pa.table({"image": [png(0), png(1)], **columns}), table)
    want = {f"{wanted} of {i}": [i] for i in range(2)}
    assert list(read_prompts(table)) == list(want)
    assert by_filter(table.parent)[1] == want
    assert by_index(table.parent, tmp_path / "index")[1] == want


def test_an_index_keeps_the_column_that_it_was_begun_with(tmp_path: Path) -> None:
    table = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": [png(0)], "caption": ["old"], "prompt": ["new"]}), table)
    build_index(tmp_path / "index", open_source(table, caption_column="caption"))
    build_index(tmp_path / "index", open_source(table))
    index = json.loads((tmp_path / "index" / "index.json").read_text())
    for key in ("shards", "images", "quarantined"):
        del index["sources"][0][key]
    write_meta(tmp_path / "index", index)
    build_index(tmp_path / "index", open_source(table))
    assert Index.open(tmp_path / "index").captions([0]) == ["old"]
    write_meta(tmp_path / "index", index)
    with pytest.raises(ConfigError, match="caption_column"):
        build_index(tmp_path / "index", open_source(table, caption_column="prompt"))


def test_files_of_one_folder_may_call_their_columns_differently(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    pq.write_table(pa.table({"image": [png(0)], "caption": ["a"]}), root / "0.parquet")
    pq.write_table(pa.table({"jpg": [png(1)], "prompt": ["b"]}), root / "1.parquet")
    pq.write_table(pa.table({"url": ["u"]}), root / "2.parquet")
    pq.write_table(pa.table({"image": [png(2)]}), root / "3.parquet")
    filtered, indexed = by_filter(root), by_index(root, tmp_path / "index")
    assert filtered[0] == indexed[0] == [0, 1, 2]
    assert indexed[1] == {"a": [0], "b": [1], None: [2]}
    assert filtered[1] == {"a": [0], "b": [1], "3": [2]}
    assert filtered[2] == indexed[2] == [("2.parquet", "no-image")]


def _maps(file: Path) -> list[str]:
    """Calls that map a file into memory."""
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and (
            any(k.arg in ("mmap_mode", "memory_map") for k in node.keywords)
            or ast.unparse(node.func).endswith(("memmap", "mmap.mmap", "memory_map"))
        )
    ]


def test_stored_images_are_never_mapped() -> None:
    """A file that is cut while it is mapped ends the process."""
    files = [*(PACKAGE / "sources").rglob("*.py"), *(PACKAGE / "images").rglob("*.py")]
    assert {str(file): _maps(file) for file in files if _maps(file)} == {}


def test_an_array_that_is_cut_after_it_was_opened_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, IMAGES)
    build_index(tmp_path / "index", open_source(path))
    opened = Index.open(tmp_path / "index")
    assert (opened.fetch(np.array([0])) == IMAGES[:1]).all()
    images = load_training_set(path)[0]
    with path.open("r+b") as file:
        file.truncate(1000)
    assert (images == IMAGES).all(), "what was read is held"
    with pytest.raises(RunError, match="truncated"):
        opened.fetch(np.array([20]))
