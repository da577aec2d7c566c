"""Lists of prompts and columns of text as people have them: read as they are meant, or refused. See tests/FAULTS.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.command_line import (
    audit_prompts,
    encoded,
    filter_images,
    index,
    list_prompts,
    memcore,
    near,
    noise,
    png,
)


@pytest.mark.parametrize(
    ("name", "data", "prompts"),
    [
        ("p.txt", b"\xef\xbb\xbfa red fox\r\na hill\r\n", ["a red fox", "a hill"]),
        ("p.txt", "a fox\u2028in snow\na hill\x85\n".encode(), ["a fox\u2028in snow", "a hill\x85"]),
        ("p.csv", b'prompt,seed\n"a fox, red",1\n"a hill",2\n', ["a fox, red", "a hill"]),
        ("p.csv", b'prompt,n\n"a fox\nin snow",1\n', ["a fox\nin snow"]),
        ("PartiPrompts.tsv", b"Prompt\tCategory\na fox\tAnimals\n", ["a fox"]),
        ("p.jsonl", b'{"prompt": "a fox"}\n{"prompt": "a hill"}\n', ["a fox", "a hill"]),
    ],
)
def test_a_list_of_prompts_is_read_as_it_is_meant(
    tmp_path: Path, name: str, data: bytes, prompts: list[str]
) -> None:
    (tmp_path / name).write_bytes(data)
    said = audit_prompts(tmp_path / "run", tmp_path / name)
    assert said.code in (0, 5), said
    assert list_prompts(tmp_path / "run") == prompts


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("p.txt", "a fox\na hill\n".encode("utf-16"), "UTF-8"),
        ("p.txt", "a fox\nun café\n".encode("latin-1"), "line 2 is not UTF-8"),
        ("p.txt", "a fox\na hill\n".encode("utf-16-le"), "UTF-16"),
        ("p.txt", b"a fox\ra hill\ra tree\r", "carriage returns"),
        ("p.txt", b"a fox\n" + b"x" * (17 << 20), "line 2 has more than"),
        ("p.csv", b'prompt,n\n"a fox,1\na hill,2\na tree,3\n', "line 4"),
        ("p.csv", b"prompt,n\na fox, red,1\n", "line 2 has 3 fields where the header has 2"),
        ("p.tsv", b'Prompt\tCategory\n"Hi" he said\tx\n', "line 2"),
        ("p.csv", b"seed,name\n1,x\n", "none of the columns"),
        ("p.json", b'["a fox"]', ".json"),
        ("p.jsonl", b'{"prompt": {"en": "a"}}\n', "not a text"),
    ],
)
def test_what_would_be_misread_is_refused(tmp_path: Path, name: str, data: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(data)
    said = audit_prompts(tmp_path / "run", tmp_path / name)
    assert said.code == 2, said
    assert told in said.err
    assert not (tmp_path / "run" / "prompts.parquet").exists()


def test_stored_prompts_are_named_line_by_line(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for i in range(3):
        np.save(images / f"{i}.npy", noise(2, i))
    (images / "prompts.txt").write_bytes("\ufeffa fox\u2028in snow\r\na hill\r\na tree\r\n".encode())
    filter_images(tmp_path / "run", images)
    assert list_prompts(tmp_path / "run") == ["a fox\u2028in snow", "a hill", "a tree"]
    (images / "prompts.txt").write_text("a fox\x85in snow\na hill\n")
    assert "2 lines for 3 prompts" in filter_images(tmp_path / "run-2", images).said.err
    (images / "prompts.txt").write_bytes(b"a fox\r\n\r\na tree\r\n")
    assert "line 2 is blank" in filter_images(tmp_path / "run-3", images).said.err


def test_captions_are_counted_line_by_line(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", noise(3))
    (tmp_path / "c.txt").write_text("a fox\u2028in snow\nb\nc\n")
    held = index(tmp_path / "index", tmp_path / "a.npy", "--captions", tmp_path / "c.txt")
    assert held.captions == ["a fox\u2028in snow", "b", "c"]
    (tmp_path / "c.txt").write_text("a\n\nc\n\n")
    held = index(tmp_path / "index-2", tmp_path / "a.npy", "--captions", tmp_path / "c.txt")
    assert [caption or None for caption in held.captions] == ["a", None, "c"]


def two_prompts(names: pa.Array, image: pa.DataType | None = None) -> dict[str, Any]:
    """Return a table of six copies each of two pictures, under the names of two prompts."""
    pictures = [encoded(near(noise(1, i // 6)[0], i)) for i in range(12)]
    return {"image": pa.array(pictures, image or pa.binary()), "prompt": names}


NAMES = ["a fox"] * 6 + ["a hill"] * 6


@pytest.mark.parametrize(
    ("names", "image"),
    [
        (pa.array(NAMES).dictionary_encode(), None),
        (pa.array(NAMES, pa.large_string()), pa.large_binary()),
        (pa.array(NAMES, pa.string_view()), None),
        (pa.array([[name, "x"] for name in NAMES]), None),
        (pa.array(NAMES), pa.binary_view()),
    ],
    ids=["categories", "large", "views", "lists", "views of bytes"],
)
def test_every_type_that_means_text_or_bytes_is_read(
    tmp_path: Path, names: pa.Array, image: pa.DataType | None
) -> None:
    pq.write_table(pa.table(two_prompts(names, image)), tmp_path / "a.parquet")
    done = filter_images(tmp_path / "run", tmp_path / "a.parquet", "--min-clique", 4)
    assert {p: (row["status"], row["size"]) for p, row in done.rows.items()} == {
        "a fox": ("finding", 6),
        "a hill": ("finding", 6),
    }


@pytest.mark.parametrize(
    "names",
    [
        pa.array([n.encode() for n in NAMES]),
        pa.array([{"en": n} for n in NAMES]),
        pa.array(list(range(12))),
    ],
    ids=["bytes", "objects", "numbers"],
)
def test_a_column_of_prompts_of_another_type_is_refused(tmp_path: Path, names: pa.Array) -> None:
    pq.write_table(pa.table(two_prompts(names)), tmp_path / "a.parquet")
    said = filter_images(tmp_path / "run", tmp_path / "a.parquet").said
    assert (said.code, "not text" in said.err) == (2, True), said
    said = index(tmp_path / "index", tmp_path / "a.parquet").said
    assert (said.code, "not text" in said.err) == (2, True), said
    said = audit_prompts(tmp_path / "run-2", tmp_path / "a.parquet")
    assert (said.code, "not text" in said.err) == (2, True), said


def test_the_first_of_several_captions_is_the_prompt(tmp_path: Path) -> None:
    pictures = [png(i % 2) for i in range(6)]
    captions = pa.array([["a dog", "a brown dog on grass"], ["a cat", "one cat"]] * 3)
    table = pa.table({"image": pa.array([{"bytes": b, "path": None} for b in pictures]), "caption": captions})
    pq.write_table(table, tmp_path / "a.parquet")
    index(tmp_path / "index", tmp_path / "a.parquet")
    memcore("prompts", tmp_path / "out.parquet", "--index", tmp_path / "index", "--trust-paths")
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert {row["prompt"]: row["count"] for row in rows} == {"a dog": 3, "a cat": 3}
    said = audit_prompts(tmp_path / "run", tmp_path / "a.parquet")
    assert said.code in (0, 5), said
    assert list_prompts(tmp_path / "run")[:2] == ["a dog", "a cat"]
