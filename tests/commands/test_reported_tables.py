"""Tables as people have them: every row is used, or told why it is not. tests/FAULTS.md lists the situations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.command_line import audit_prompts, encoded, filter_images, index, list_prompts, noise, png


def pictures(count: int, seed: int = 0) -> pa.Array:
    return pa.array([png(seed + i) for i in range(count)], pa.binary())


def write_tables(folder: Path, *tables: dict[str, Any]) -> Path:
    folder.mkdir()
    for i, columns in enumerate(tables):
        pq.write_table(pa.table(columns), folder / f"{i}.parquet")
    return folder


@pytest.mark.parametrize(
    ("first", "second", "captions"),
    [
        (
            {"image": pictures(2), "caption": ["a", "b"]},
            {"image": pictures(2, 2)},
            ["a", "b", None, None],
        ),
        (
            {"image": pictures(2)},
            {"image": pictures(2, 2), "caption": ["a", "b"]},
            [None, None, "a", "b"],
        ),
        (
            {"image": pictures(1), "caption": ["a"]},
            {"image": pa.array([{"bytes": png(1), "path": None}]), "caption": ["b"]},
            ["a", "b"],
        ),
        ({"image": pictures(1), "caption": ["a"]}, {"jpg": pictures(1, 1), "caption": ["b"]}, ["a", "b"]),
    ],
)
def test_tables_of_one_folder_may_differ(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any], captions: list[str | None]
) -> None:
    held = index(tmp_path / "index", write_tables(tmp_path / "set", first, second))
    assert held.said.code in (0, 5), held.said
    assert held.captions == captions


def test_a_table_without_images_is_told(tmp_path: Path) -> None:
    root = write_tables(
        tmp_path / "set", {"image": pictures(2), "caption": ["a", "b"]}, {"url": ["u"], "caption": ["c"]}
    )
    assert index(tmp_path / "index", root).left_out == {"1.parquet": "no-image"}


def test_images_of_one_length_are_read(tmp_path: Path) -> None:
    files = [encoded(picture, "bmp") for picture in noise(3)]
    columns = {"image": pa.array(files, pa.binary(len(files[0]))), "caption": list("abc")}
    root = write_tables(tmp_path / "set", columns)
    assert index(tmp_path / "index", root).captions == ["a", "b", "c"]
    hashes = pa.array([bytes(16)] * 2, pa.binary(16))
    root = write_tables(tmp_path / "hashes", {"md5": hashes, "data": pictures(2)})
    assert len(index(tmp_path / "index-2", root).images) == 2


@pytest.mark.parametrize("name", ["image", "caption"])
def test_columns_of_one_name_are_refused_and_cost_their_file(tmp_path: Path, name: str) -> None:
    names = {"image": ["image", "image", "caption"], "caption": ["image", "caption", "caption"]}[name]
    columns = {"image": pictures(2), "caption": pa.array(["a", "b"])}
    twice = pa.table([columns[column] for column in names], names=names)
    root = tmp_path / "set"
    root.mkdir()
    pq.write_table(twice, root / "0.parquet")
    for said in (index(tmp_path / "index", root).said, filter_images(tmp_path / "run", root).said):
        assert (said.code, f"several columns called '{name}'" in said.err) == (2, True), said
    pq.write_table(pa.table(columns), root / "1.parquet")
    held = index(tmp_path / "index", root)
    assert (held.said.code, held.captions) == (5, ["a", "b"])
    assert list(held.left_out.values()) == ["archive"]
    if name == "caption":
        said = audit_prompts(tmp_path / "run-2", root / "0.parquet")
        assert (said.code, "several columns called 'caption'" in said.err) == (2, True), said


def test_a_caption_that_is_not_utf_8_costs_its_row_alone(tmp_path: Path) -> None:
    data = b"a fox\xff\xfea hill"
    offsets = np.array([0, 5, 7, 13], np.int32)
    captions = pa.StringArray.from_buffers(3, pa.py_buffer(offsets), pa.py_buffer(data))
    root = write_tables(tmp_path / "set", {"image": pictures(3), "caption": captions})
    held = index(tmp_path / "index", root)
    assert held.images == [("0.parquet#0", "a fox"), ("0.parquet#2", "a hill")]
    assert held.left_out == {"0.parquet#1": "caption"}
    assert filter_images(tmp_path / "run", root).generated["a hill"] == 1


def test_blank_captions_are_none(tmp_path: Path) -> None:
    captions = pa.array([[None, "a fox"], ["", " "], [], None, ["a hill", "b"]])
    root = write_tables(tmp_path / "set", {"image": pictures(5), "caption": captions})
    assert index(tmp_path / "index", root).captions == ["a fox", None, None, None, "a hill"]
    said = audit_prompts(tmp_path / "run", root / "0.parquet")
    assert said.code in (0, 5), said
    assert list_prompts(tmp_path / "run") == ["a fox", "a hill"]


@pytest.mark.parametrize("name", ["p.csv", "p.tsv"])
def test_a_list_with_two_columns_of_prompts_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("prompt,prompt\na,b\n".replace(",", "," if name == "p.csv" else "\t"))
    said = audit_prompts(tmp_path / "run", tmp_path / name)
    assert (said.code, "several columns called 'prompt'" in said.err) == (2, True), said
