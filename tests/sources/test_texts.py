"""Lists of prompts and captions, texts beside images, and columns of text: read by one reader, or refused by name."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memcore.errors import ConfigError
from memcore.index import Index, build_index, open_source
from memcore.runs.prompts import read_prompts, scan_prompts
from memcore.sources.by_prompt import StoredPrompts
from memcore.sources.captions import parse_text
from tests.support.odd_sets import DEEP, picture
from tests.support.stored_sets import add, read_all

ODD = "a fox\u2028in snow\na hill\x85 at dawn\na\x0cform feed\na\x1cfile separator\nlone\rreturn\n"
LINES = ["a fox\u2028in snow", "a hill\x85 at dawn", "a\x0cform feed", "a\x1cfile separator", "lone\rreturn"]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("name", "data", "want"),
    [
        ("bom.txt", b"\xef\xbb\xbfa red fox\r\na hill\r\n", ["a red fox", "a hill"]),
        ("odd.TXT", ODD.encode(), LINES),
        ("blank.txt", b"\na fox\n  \n\na fox\n\n", ["a fox", "a fox"]),
        ("p.csv", b'prompt,seed\n"a fox, red",1\n\n"two\nlines",2\n', ["a fox, red", "two\nlines"]),
        ("PartiPrompts.tsv", b"Prompt\tCategory\na fox\tAnimals\n\tnone\n", ["a fox"]),
        (
            "p.jsonl",
            b'\xef\xbb\xbf{"prompt": "a fox"}\n\n"a hill"\n{"text": ["one", "two"]}\n',
            ["a fox", "a hill", "one"],
        ),
        ("p.jsonl", b'{"caption": null}\n{"caption": "x"}', ["x"]),
    ],
)
def test_a_list_of_prompts_is_read_by_its_suffix(
    tmp_path: Path, name: str, data: bytes, want: list[str]
) -> None:
    (tmp_path / name).write_bytes(data)
    prompts = read_prompts(tmp_path / name)
    assert list(prompts) == want
    assert list(prompts) == want  # again
    counts = prompts.counts
    assert counts.pointed_at == counts.used + counts.blank
    assert (counts.used, counts.repeated) == (len(want), len(want) - len(set(want)))


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("p.txt", "a fox\n".encode("utf-16"), "is not UTF-8"),
        ("p.docx", b"a fox", r"is a \.docx: give \.txt, \.csv, \.tsv, \.jsonl or \.parquet"),
        ("prompts", b"a fox", "file without a suffix"),
        ("p.csv", b"seed,name\n1,x\n", "none of the columns prompt, caption, text"),
        ("p.jsonl", b'{"prompt": "a"}\n{', "line 2 is not JSON"),
        ("p.jsonl", b'{"prompt": {"en": "a"}}', "is a dict, not a text"),
        ("p.jsonl", b"[1]", "line 1 is a list"),
        ("p.jsonl", DEEP, "line 1 is not JSON"),
        ("p.parquet", b"", "cannot be read"),
    ],
)
def test_what_is_no_list_of_prompts_is_refused(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match=said):
        list(read_prompts(tmp_path / name))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@pytest.mark.parametrize("name", ["p.txt", "p.parquet", "p.jsonl"])
def test_a_pipe_is_refused_without_waiting(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(ConfigError, match="no plain file"):
        list(read_prompts(tmp_path / name))


TEXTS = {
    "categories": pa.array(["a fox", "a hill"]).dictionary_encode(),
    "large": pa.array(["a fox", "a hill"], pa.large_string()),
    "view": pa.array(["a fox", "a hill"], pa.string_view()),
    "lists": pa.array([["a fox", "x"], ["a hill"]]),
    "large lists": pa.array([["a fox", "x"], ["a hill"]], pa.large_list(pa.large_string())),
    "lists of categories": pa.array([["a fox"], ["a hill", "y"]], pa.list_(pa.string())),
}
NO_TEXTS = {
    "int64": pa.array([3, 7]),
    "struct<en: string>": pa.array([{"en": "a"}, {"en": "b"}]),
    "binary": pa.array([b"a", b"b"]),
    "double": pa.array([0.5, 1.5]),
    "list<.*: int64>": pa.array([[1], [2]]),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_every_type_that_means_text_is_read(tmp_path: Path, kind: str) -> None:
    images = pa.array([picture(rng()), picture(np.random.default_rng(1))])
    pq.write_table(pa.table({"image": images, "prompt": TEXTS[kind]}), tmp_path / "a.parquet")
    assert list(read_prompts(tmp_path / "a.parquet")) == ["a fox", "a hill"]
    assert StoredPrompts(tmp_path / "a.parquet").prompts == ["a fox", "a hill"]
    build_index(tmp_path / "index", open_source(tmp_path / "a.parquet"))
    assert Index.open(tmp_path / "index").captions([0, 1]) == ["a fox", "a hill"]


@pytest.mark.parametrize("kind", NO_TEXTS)
def test_every_other_type_is_refused_by_its_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": pa.array([picture(rng())] * 2), "prompt": NO_TEXTS[kind]}), path)
    for read in (lambda: list(read_prompts(path)), lambda: StoredPrompts(path), lambda: open_source(path)):
        with pytest.raises(ConfigError, match=f"'prompt'.* holds {kind}, not text"):
            read()


@pytest.mark.parametrize(
    "kind",
    [pa.binary(), pa.large_binary(), pa.binary_view(), pa.dictionary(pa.int32(), pa.binary())],
    ids=str,
)
def test_every_type_that_means_bytes_is_read(tmp_path: Path, kind: pa.DataType) -> None:
    data = [picture(np.random.default_rng(i)) for i in range(3)]
    column = pa.array(data).dictionary_encode() if pa.types.is_dictionary(kind) else pa.array(data, kind)
    pq.write_table(pa.table({"image": column, "prompt": list("abc")}), tmp_path / "a.parquet")
    stored = StoredPrompts(tmp_path / "a.parquet")
    assert [read_all(stored, i)[1] for i in range(3)] == [[0]] * 3
    build_index(tmp_path / "index", open_source(tmp_path / "a.parquet"))
    assert len(Index.open(tmp_path / "index")) == 3


def test_a_column_of_images_of_another_type_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [[b"x"]], "thumb": [b"y"]}), tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match=r"image \(list<"):
        open_source(tmp_path / "a.parquet")


def test_files_of_one_folder_may_differ_in_columns(tmp_path: Path) -> None:
    root = tmp_path / "set"
    root.mkdir()
    data = [picture(np.random.default_rng(i)) for i in range(6)]
    pq.write_table(pa.table({"image": data[:1]}), root / "0.parquet")
    pq.write_table(pa.table({"image": data[1:2], "caption": ["b"]}), root / "1.parquet")
    pq.write_table(pa.table({"jpg": [{"bytes": data[2], "path": None}], "Text": ["c"]}), root / "2.parquet")
    pq.write_table(pa.table({"url": ["u"]}), root / "3.parquet")
    pq.write_table(pa.table({"image": data[3:5], "caption": [1, 2]}), root / "4.parquet")
    build_index(tmp_path / "index", open_source(root))
    index = Index.open(tmp_path / "index")
    assert index.captions(range(3)) == [None, "b", "c"]
    assert index.coverage() == {
        "pointed_at": 6,
        "images": 3,
        "texts": 0,
        "left_out": {"caption": 2, "no-image": 1},
    }


def captions_of(root: Path, folder: Path) -> tuple[dict[str, str | None], dict[str, str]]:
    build_index(folder, open_source(root))
    index = Index.open(folder)
    rows = range(len(index))
    return dict(zip(index.names(rows), index.captions(rows), strict=True)), {
        entry["source"]: entry["reason"] for entry in index.quarantine()
    }


@pytest.mark.parametrize(
    ("text", "data", "want"),
    [
        ("0.txt", b"\xef\xbb\xbfa fox\r\n", "a fox"),
        ("0.TXT", b"a fox", "a fox"),
        ("0.png.txt", b"a fox", "a fox"),
        ("0.caption", b"a fox", "a fox"),
        ("0.json", b'\xef\xbb\xbf{"text": ["a fox", "b"]}', "a fox"),
        ("0.json", json.dumps({"caption": "a fox", "workflow": "x" * 300_000}).encode(), "a fox"),
        (
            "metadata.jsonl",
            b'{"file_name": "0.png", "text": "a fox"}\n{"file_name": "gone.png", "text": "-"}\n',
            "a fox",
        ),
        ("metadata.csv", b'file_name,text\n./0.png,"a fox"\n', "a fox"),
        ("0.txt", "un café".encode("latin-1"), None),
        ("0.txt", "a fox".encode("utf-16"), None),
        ("0.json", DEEP, None),
        ("0.json", b'{"caption": "a", "seed": ' + b"9" * 5000 + b"}", None),
        ("metadata.jsonl", b"{", None),
    ],
)
def test_a_caption_beside_an_image_is_read_or_told(
    tmp_path: Path, text: str, data: bytes, want: str | None
) -> None:
    root = tmp_path / "set"
    root.mkdir()
    (root / "0.png").write_bytes(picture(rng()))
    (root / text).write_bytes(data)
    captions, left_out = captions_of(root, tmp_path / "index")
    assert captions == {"0.png": want}
    assert left_out == ({} if want else {text: "caption"})
    if text.startswith("0.") and not text.startswith("0.png"):  # the same in an archive
        (tmp_path / "tars").mkdir()
        with tarfile.open(tmp_path / "tars" / "a.tar", "w") as tar:
            add(tar, "0.png", picture(rng()))
            add(tar, text, data)
        captions, left_out = captions_of(tmp_path / "tars", tmp_path / "index-2")
        assert captions == {"a.tar/0.png": want}
        assert left_out == ({} if want else {f"a.tar/{text}": "caption"})


def test_the_metadata_of_a_folder_speaks_of_what_lies_below(tmp_path: Path) -> None:
    root = tmp_path / "set"
    (root / "a").mkdir(parents=True)
    for i, name in enumerate(("0.png", "a/1.png", "a/2.png")):
        (root / name).write_bytes(picture(np.random.default_rng(i)))
    lines = [{"file_name": n, "text": f"of {n}"} for n in ("0.png", "a/1.png")]
    (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (root / "a" / "1.txt").write_text("its own")
    build_index(tmp_path / "index", open_source(root), shard_images=1)
    index = Index.open(tmp_path / "index")
    assert index.captions(range(3)) == ["of 0.png", "its own", None]
    assert index.coverage() == {"pointed_at": 5, "images": 3, "texts": 2, "left_out": {}}


def test_the_listing_of_prompts_is_cut_at_line_ends_only(tmp_path: Path) -> None:
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", rng().integers(0, 256, (3, 8, 8, 3), dtype=np.uint8))
    listing = tmp_path / "prompts.txt"
    listing.write_bytes("\ufeffa fox\u2028in snow\r\na hill\r\na tree\r\n".encode())
    assert StoredPrompts(tmp_path).prompts == ["a fox\u2028in snow", "a hill", "a tree"]
    listing.write_text("a fox\x85in snow\na hill\n")
    with pytest.raises(ConfigError, match="has 2 lines for 3 prompts"):
        StoredPrompts(tmp_path)
    listing.write_text("a fox\n\na tree\n")
    with pytest.raises(ConfigError, match="line 2 is blank"):
        StoredPrompts(tmp_path)
    captions = tmp_path / "c.txt"
    captions.write_text("a\u2028b\n\nc\n")
    source = open_source(tmp_path / "0.npy", captions=str(captions))
    assert [entry.caption for entry in source.entries(0)] == ["a\u2028b", "", "c"]


def test_a_sample_whose_caption_cannot_be_read_goes_to_no_other_prompt(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "0.png", picture(rng()))
        add(tar, "0.txt", b"a fox")
        for i in (1, 2):
            add(tar, f"{i}.png", picture(np.random.default_rng(i)))
            add(tar, f"{i}.txt", b"th\xe9")
    stored = StoredPrompts(tmp_path / "a.tar")
    images = {prompt: read_all(stored, i)[0] for i, prompt in enumerate(stored.prompts) if prompt == "a fox"}
    assert len(images["a fox"]) == 1
    refused = [e for i in range(len(stored.prompts)) for _, _, _, gone in stored.read(i) for e in gone]
    assert sorted(e["source"] for e in refused) == [f"a.tar/{i}.{s}" for i in (1, 2) for s in ("png", "txt")]
    assert {e["reason"] for e in refused} == {"caption"}


def test_texts_of_macos_are_no_captions(tmp_path: Path) -> None:
    apple = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(60)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for i in range(2):
            for suffix, data in (
                ("png", picture(np.random.default_rng(i))),
                ("txt", f"caption {i}".encode()),
            ):
                add(tar, f"._{i}.{suffix}", apple)
                add(tar, f"{i}.{suffix}", data)
    assert StoredPrompts(tmp_path / "a.tar").prompts == ["caption 0", "caption 1"]
    captions, left_out = captions_of(tmp_path / "a.tar", tmp_path / "index")
    assert list(captions.values()) == ["caption 0", "caption 1"]
    assert set(left_out.values()) == {"system"}
    assert len(left_out) == 4


def test_what_was_skipped_is_in_the_list_that_a_run_records(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a\n\nb\na\n")
    listed = scan_prompts(read_prompts(tmp_path / "p.txt"), io.BytesIO())
    assert (listed.count, listed.blank, listed.repeated) == (3, 1, 1)
    assert listed == scan_prompts(["a", "b", "a"])


def test_a_text_says_no_null_bytes() -> None:
    assert parse_text(b"a\0b", ".txt").caption is None
