"""Folders and arrays as people have them: nothing in them is lost without a word. tests/FAULTS.md lists the situations."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.command_line import (
    encoded,
    filter_images,
    index,
    memcore,
    noise,
    png,
    read_run,
    write_copies,
)


def coverage(*words: str | Path) -> dict[str, object]:
    said = memcore(*words, "--json")
    found: dict[str, object] = json.loads(said.out)["coverage"]
    return found


def test_every_file_of_a_folder_is_accounted_for(tmp_path: Path) -> None:
    root = tmp_path / "train"
    root.mkdir()
    jpeg = encoded(noise(1)[0], "jpeg")
    for name in ("a.jpg", "b.JPG", "c.jfif", "d.jpe", "e.jpg_large", "f.jpg?w=640"):
        (root / name).write_bytes(jpeg)
    for name in ("g", "h.png.bak", "i.PNG"):
        (root / name).write_bytes(png())
    for name, data in (
        ("k.ppm", encoded(noise(1)[0], "ppm")),
        ("l.avif", b"\0\0\0\x20ftypavif" + bytes(40)),
        ("m.heic", b"\0\0\0\x20ftypheic" + bytes(40)),
        ("n.png", b""),
    ):
        (root / name).write_bytes(data)
    (root / "o.png").symlink_to("/nowhere/annex/object.png")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "p.png").write_bytes(png(1))
    (root / "linked").symlink_to(tmp_path / "other")
    held = index(tmp_path / "index", root)
    assert len(held.images) == 10
    assert held.left_out == {
        "k.ppm": "format",
        "l.avif": "format",
        "m.heic": "format",
        "n.png": "unreadable",
        "o.png": "unreadable",
    }
    filter_images(tmp_path / "run", write_copies(tmp_path / "images", noise(1, 5)[0]))
    for against in (("--training", root), ("--index", tmp_path / "index", "--source", root)):
        account = coverage("match", tmp_path / "run", *against)
        assert (account["pointed_at"], account["images"]) == (15, 10)


def test_every_file_beside_prompts_is_accounted_for(tmp_path: Path) -> None:
    images = write_copies(tmp_path / "images", noise(1)[0], 2)
    (images / "a fox" / "2.jfif").write_bytes(encoded(noise(1, 3)[0], "jpeg"))
    (images / "nothing in it").mkdir()
    (images / "deeper" / "seeds").mkdir(parents=True)
    (images / "deeper" / "seeds" / "0.png").write_bytes(png(1))
    done = filter_images(tmp_path / "run", images)
    assert done.generated["a fox"] == 3
    assert done.rows["nothing in it"]["reason"] == "empty"
    account = coverage("filter", tmp_path / "run", "--images", images, "--quiet")
    assert account["pointed_at"] == 5
    assert account["left_out"] == {"empty": 1, "other": 1}


@pytest.mark.parametrize("form", ["match --training", "match --index"])
def test_training_images_that_were_not_compared_are_told(tmp_path: Path, form: str) -> None:
    root = tmp_path / "train"
    root.mkdir()
    (root / "0.png").write_bytes(png(9))
    wide = np.random.default_rng(1).integers(0, 256, (16, 17, 3), dtype=np.uint8)
    clear = np.dstack([noise(1, 2)[0], np.full((16, 16), 200, np.uint8)])
    for i in range(1, 4):
        (root / f"{i}.png").write_bytes(encoded(wide))
    (root / "4.png").write_bytes(encoded(clear))
    filter_images(tmp_path / "run", write_copies(tmp_path / "images", noise(1)[0]))
    if form == "match --index":
        index(tmp_path / "index", root)
        said = memcore("match", tmp_path / "run", "--index", tmp_path / "index", "--source", root)
    else:
        said = memcore("match", tmp_path / "run", "--training", root)
    assert said.code == 5
    assert "4 of 5 training images were not compared" in said.out + said.err
    memcore("report", tmp_path / "run")
    assert "4 of 5 training images" in (tmp_path / "run" / "report" / "index.html").read_text()


@pytest.mark.parametrize(
    ("name", "text", "caption"),
    [
        ("0.txt", b"\xef\xbb\xbfa fox", "a fox"),
        ("0.TXT", b"a fox", "a fox"),
        ("0.png.txt", b"a fox", "a fox"),
        ("0.caption", b"a fox", "a fox"),
        ("0.json", b'\xef\xbb\xbf{"caption": "a fox"}', "a fox"),
        ("0.json", b'{"caption": ["a fox", "an animal"]}', "a fox"),
        ("metadata.jsonl", b'{"file_name": "0.png", "text": "a fox"}\n', "a fox"),
        ("metadata.csv", b'file_name,text\n0.png,"a fox"\n', "a fox"),
        ("0.txt", "un café".encode("latin-1"), None),
        ("0.txt", "a fox".encode("utf-16"), None),
        ("0.txt", "a fox".encode("utf-16-le"), None),
        ("0.json", b'{"caption": "a \\ud83d fox"}', None),
        ("0.json", b'"a fox"', "a fox"),
        ("0.json", b'[null, "a fox"]', "a fox"),
        ("0.json", b'{"prompt": {"nodes": [1]}, "caption": "a fox"}', "a fox"),
        ("0.json", b'{"caption": {"en": "a fox"}}', None),
        ("0.json", b'{"caption": 5}', None),
        ("0.json", b"[1, 2]", None),
        ("metadata.jsonl", b'{"file_name": "0.png", "text": {"en": "a fox"}}\n', None),
        ("metadata.jsonl", b'{"file_name": "0.png", "text": "\\ud83d"}\n', None),
        ("metadata.jsonl", b'{"file": "0.png", "text": "a fox"}\n', None),
        ("metadata.csv", b"name,text\n0.png,a fox\n", None),
        ("metadata.csv", b'file_name,text\n0.png,"a fox\n', None),
        ("metadata.csv", b"file_name,text\n0.png,a fox, red\n", None),
        ("metadata.csv", b'file_name,text\n0.png,"' + b"x" * 200_000 + b'"\n', "x" * 200_000),
        ("metadata.csv", b'file_name,text\r\n0.png,"a fox\r\n\r\nin snow"\r\n', "a fox\n\nin snow"),
    ],
)
def test_a_caption_beside_an_image_is_read_or_told(
    tmp_path: Path, name: str, text: bytes, caption: str | None
) -> None:
    root = tmp_path / "train"
    root.mkdir()
    (root / "0.png").write_bytes(png())
    (root / name).write_bytes(text)
    held = index(tmp_path / "index", root)
    assert held.said.code in (0, 5), held.said
    assert held.captions == [caption]
    assert held.left_out == ({} if caption else {name: "caption"})


@pytest.mark.parametrize(
    "array",
    [
        np.ascontiguousarray(noise(12).transpose(0, 3, 1, 2)),
        np.concatenate([noise(12), noise(12)[..., :2]], -1),
        noise(12)[..., 0],
        (noise(12) / 255).astype(np.float32),
    ],
    ids=["channels first", "5 channels", "no channels", "float"],
)
def test_arrays_of_other_shapes_are_refused_with_words(tmp_path: Path, array: NDArray[np.generic]) -> None:
    np.save(tmp_path / "a.npy", array)
    said = index(tmp_path / "index", tmp_path / "a.npy").said
    assert said.code == 2
    assert "a.npy" in said.err
    assert not list((tmp_path / "index").glob("shard*")), "nothing is begun"
    (tmp_path / "set").mkdir()
    np.save(tmp_path / "set" / "a.npy", array)
    np.save(tmp_path / "set" / "b.npy", noise(2))
    held = index(tmp_path / "index-2", tmp_path / "set")
    assert held.said.code in (0, 5), held.said
    assert list(held.left_out) == ["a.npy"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_prompts_beside_a_pipe_are_read(tmp_path: Path) -> None:
    images = write_copies(tmp_path / "images", noise(1)[0])
    os.mkfifo(images / "a fox" / "x.png")
    command = [sys.executable, "-m", "memcore.cli", "filter", tmp_path / "run", "--images", images]
    done = subprocess.run([*command, "--quiet", "--workers", "1"], capture_output=True, timeout=60)
    assert done.returncode == 5, done.stderr
    rows, left_out = read_run(tmp_path / "run")
    assert rows["a fox"]["generated"] == 12
    assert left_out == {"a fox/x.png": "path"}


def _claim(shape: tuple[int, ...]) -> bytes:
    head = repr({"descr": "|u1", "fortran_order": False, "shape": shape}).encode()
    head += b" " * (-(len(head) + 11) % 64) + b"\n"
    return b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head + noise(3).tobytes()


@pytest.mark.parametrize("shape", [(10**9, 16, 16, 3), (2**62, 16, 16, 3), (2, 2**31, 2**31, 3)])
def test_a_header_that_claims_too_much_takes_no_memory(tmp_path: Path, shape: tuple[int, ...]) -> None:
    root = tmp_path / "train"
    root.mkdir()
    np.save(root / "0.npy", noise(2, 1))
    (root / "1.npy").write_bytes(_claim(shape))
    filter_images(tmp_path / "run", write_copies(tmp_path / "images", noise(1)[0]))
    said = memcore("match", tmp_path / "run", "--training", root)
    assert said.code == 5, said
    assert "not compared" in said.out + said.err
    held = index(tmp_path / "index", root)
    assert held.said.code in (0, 5), held.said
    assert len(held.left_out) == 1
    alone = filter_images(tmp_path / "run-2", root)
    assert alone.said.code in (1, 5), alone.said
    assert alone.rows["0"]["generated"] == 2
