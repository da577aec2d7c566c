"""Random sets of images with planted oddities, and how many files, members, rows and images each of them adds.

What is counted here is counted while it is written, by nothing that memcore has.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SIDE = 8
APPLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(20)
DEEP = b"[" * 100_000
Rng: TypeAlias = np.random.Generator


def picture(rng: Rng, kind: str = "png", side: int = SIDE, channels: int = 3) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (side, side, channels), dtype=np.uint8)).save(sink, kind)
    return sink.getvalue()


def avif() -> bytes:
    return b"\0\0\0\x20ftypavif" + bytes(40)


def _put(folder: Path, name: str | bytes, data: bytes) -> int:
    with open(os.path.join(os.fsencode(folder), os.fsencode(name)), "wb") as file:
        file.write(data)
    return 1


def _linked_folder(f: Path, n: str, rng: Rng) -> int:
    away = (
        f.parents[1] / f"away-{n}-{int(rng.integers(2**60))}"
    )  # outside of the set, wherever the link lies in it
    away.mkdir()
    (f / f"{n}-linked").symlink_to(away)
    return sum(_put(away, f"{i}.png", picture(rng)) for i in range(2))


def _link(f: Path, name: str, to: str | Path) -> int:
    (f / name).symlink_to(to)
    return 1


def _pipe(f: Path, name: str) -> int:
    os.mkfifo(f / name)
    return 1


def _folder(f: Path, name: str, *files: tuple[str, bytes]) -> int:
    (f / name).mkdir()
    return sum(_put(f / name, own, data) for own, data in files)


def _macosx(f: Path) -> int:
    """Of a system's folder, which counts as one, nothing is looked at."""
    (f / "__MACOSX" / "deeper").mkdir(parents=True)
    (f / "__MACOSX" / "._a.png").write_bytes(APPLE)
    return 1


def _with_text(f: Path, stem: str, rng: Rng, text: bytes, suffix: str = ".txt") -> int:
    return _put(f, f"{stem}.png", picture(rng)) + _put(f, stem + suffix, text)


#: Oddities of a folder of images: name -> what plants it under a name of its own and returns what it adds.
IN_FOLDERS: dict[str, Callable[[Path, str, Rng], int]] = {
    "no suffix": lambda f, n, r: _put(f, n, picture(r)),
    "jfif": lambda f, n, r: _put(f, f"{n}.jfif", picture(r, "jpeg")),
    "jpe": lambda f, n, r: _put(f, f"{n}.JPE", picture(r, "jpeg")),
    "suffix behind": lambda f, n, r: _put(f, f"{n}.png.bak", picture(r)),
    "query behind": lambda f, n, r: _put(f, f"{n}.jpg?w=640", picture(r, "jpeg")),
    "avif": lambda f, n, r: _put(f, f"{n}.avif", avif()),
    "apple double": lambda f, n, r: _put(f, f"._{n}.png", APPLE),
    "macosx folder": lambda f, n, r: (
        _folder(f, f"{n}d", ("a.png", picture(r))) + _put(f / f"{n}d", "Thumbs.db", b"x")
    ),
    "macosx at the top": lambda f, n, r: _macosx(f / f"{n}m"),
    "readme": lambda f, n, r: _put(f, f"{n}.md", b"# words"),
    "empty folder": lambda f, n, r: 1 + _folder(f, f"{n}-empty"),
    "folder called image": lambda f, n, r: 1 + _folder(f, f"{n}.png", ("b.png", picture(r))),
    "dangling link": lambda f, n, r: _link(f, f"{n}.png", "/nowhere/at all"),
    "dangling link without suffix": lambda f, n, r: _link(f, n, "/nowhere/at all"),
    "link to itself": lambda f, n, r: _link(f, f"{n}-self", f"{n}-self"),
    "linked folder": _linked_folder,
    "cycle": lambda f, n, r: _link(f, f"{n}-around", ".."),
    "pipe": lambda f, n, r: _pipe(f, f"{n}.png"),
    "pipe as text": lambda f, n, r: _put(f, f"{n}.png", picture(r)) + _pipe(f, f"{n}.txt"),
    "text": lambda f, n, r: _with_text(f, n, r, b"\xef\xbb\xbfa fox"),
    "text in capitals": lambda f, n, r: _with_text(f, n, r, b"a fox", ".TXT"),
    "text of Latin-1": lambda f, n, r: _with_text(f, n, r, b"un caf\xe9"),
    "text of the full name": lambda f, n, r: _with_text(f, n, r, b"a fox", ".png.txt"),
    "deep JSON": lambda f, n, r: _with_text(f, n, r, DEEP, ".json"),
    "text of UTF-16": lambda f, n, r: _with_text(f, n, r, "a fox".encode("utf-16-le")),
    "caption of another type": lambda f, n, r: _with_text(f, n, r, b'{"caption": {"en": "a fox"}}', ".json"),
    "half a character": lambda f, n, r: _with_text(f, n, r, b'{"caption": "\\ud83d"}', ".json"),
    "link to a link": lambda f, n, r: (
        _put(f, f"{n}.png", picture(r))
        + _link(f, f"{n}-1.png", f"{n}.png")
        + _link(f, f"{n}-2.png", f"{n}-1.png")
    ),
    "device": lambda f, n, r: _link(f, f"{n}.png", "/dev/zero"),
    "text of two images": lambda f, n, r: (
        _with_text(f, n, r, b"a fox") + _put(f, f"{n}.jpg", picture(r, "jpeg"))
    ),
    "text alone": lambda f, n, r: _put(f, f"{n}.txt", b"alone"),
    "no bytes": lambda f, n, r: _put(f, f"{n}.png", b""),
    "cut": lambda f, n, r: _put(f, f"{n}.png", picture(r)[:-30]),
    "other size": lambda f, n, r: _put(f, f"{n}.png", picture(r, side=SIDE + 1)),
    "transparent": lambda f, n, r: _put(f, f"{n}.png", picture(r, channels=4)),
    "dots": lambda f, n, r: sum(_put(f, f"{n}.2024.{i}.png", picture(r)) for i in range(3)),
    "foreign name": lambda f, n, r: _put(f, b"caf\xe9" + n.encode() + b".png", picture(r)),
    "newline": lambda f, n, r: _put(f, f"{n}\n'\"#%.png", picture(r)),
    "compressed": lambda f, n, r: _put(f, f"{n}.gz", gzip.compress(b"x")),
    "metadata": lambda f, n, r: _folder(
        f,
        f"{n}-hf",
        ("a.png", picture(r)),
        ("metadata.jsonl", json.dumps({"file_name": "a.png", "text": "a fox"}).encode()),
    ),
    "metadata of an open quote": lambda f, n, r: _folder(
        f, f"{n}-csv", ("a.png", picture(r)), ("metadata.csv", b'file_name,text\na.png,"a fox\n')
    ),
    "metadata of another type": lambda f, n, r: _folder(
        f, f"{n}-hf2", ("a.png", picture(r)), ("metadata.jsonl", b'{"file_name": "a.png", "text": [1]}')
    ),
    "broken metadata": lambda f, n, r: _folder(f, f"{n}-hf", ("a.png", picture(r)), ("metadata.jsonl", b"{")),
}


def write_folder(root: Path, rng: Rng, kinds: list[str]) -> int:
    """Write a folder of images with these oddities; return what lies in it."""
    root.mkdir(parents=True)
    count = sum(_put(root, f"0{i}.png", picture(rng)) for i in range(int(rng.integers(1, 4))))
    below = root / "deeper"
    below.mkdir()
    count += _put(below, "0.png", picture(rng))
    for i, kind in enumerate(kinds):
        count += IN_FOLDERS[kind](root if rng.random() < 0.6 else below, f"x{i}", rng)
    return count


Member: TypeAlias = tuple[str, bytes, dict[str, Any]]
_NONE: dict[str, Any] = {}


def _sample(n: str, r: Rng, *texts: tuple[str, bytes]) -> list[Member]:
    return [(f"{n}.png", picture(r), {}), *((n + suffix, data, {}) for suffix, data in texts)]


IN_TARS: dict[str, Callable[[str, Rng], list[Member]]] = {
    "sample": lambda n, r: _sample(n, r, (".txt", b"a fox")),
    "two texts": lambda n, r: _sample(n, r, (".txt", b"a fox"), (".json", b'{"caption": "b", "seed": 4}')),
    "text twice": lambda n, r: _sample(n, r, (".txt", b"first"), (".txt", b"second")),
    "text of Latin-1": lambda n, r: _sample(n, r, (".txt", b"caf\xe9")),
    "deep JSON": lambda n, r: _sample(n, r, (".json", DEEP)),
    "caption of another type": lambda n, r: _sample(n, r, (".json", b'{"caption": 5}')),
    "half a character": lambda n, r: _sample(n, r, (".json", b'{"caption": "\\ud83d"}')),
    "long name": lambda n, r: _sample("d/" * 90 + n, r, (".txt", b"a fox")),
    "nested archives": lambda n, r: [(f"{n}.tar", b"x" * 1024, {}), (f"{n}.zip", b"PK\3\4", {})],
    "texts alone": lambda n, r: [(f"{n}.txt", b"a", {}), (f"{n}.json", b"{", {}), (f"{n}.caption", b"c", {})],
    "several images": lambda n, r: [*_sample(f"{n}.a", r), *_sample(f"{n}.b", r), (f"{n}.txt", b"t", _NONE)],
    "name twice": lambda n, r: [*_sample(n, r), *_sample(n, r)],
    "apple double": lambda n, r: [(f"._{n}.png", APPLE, {}), (f"__MACOSX/._{n}.txt", APPLE, {})],
    "own suffix": lambda n, r: [*_sample(n, r), (f"{n}.cls", b"7", {})],
    "suffix behind": lambda n, r: [(f"{n}.png.data", picture(r), {})],
    "no suffix": lambda n, r: [(f"d/{n}", picture(r), {})],
    "symbolic link": lambda n, r: [(f"{n}.png", b"", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"})],
    "hard link": lambda n, r: [(f"{n}.png", b"", {"type": tarfile.LNKTYPE, "linkname": "0.png"})],
    "link as text": lambda n, r: [(f"{n}.txt", b"", {"type": tarfile.LNKTYPE, "linkname": "0.png"})],
    "device": lambda n, r: [(f"{n}.dev", b"", {"type": tarfile.CHRTYPE})],
    "leads out": lambda n, r: [(f"../{n}.png", picture(r), {})],
    "cut image": lambda n, r: [(f"{n}.png", picture(r)[:-30], {})],
    "foreign name": lambda n, r: [(f"caf\udce9-{n}.png", picture(r), {})],
}


def write_tars(root: Path, rng: Rng, kinds: list[str]) -> int:
    """Write tars with these oddities, some cut, one of no bytes, one compressed, beside files that are none."""
    root.mkdir(parents=True)
    names = [(f"x{i}", kind) for i, kind in enumerate(kinds)]
    count = 0
    for shard, some in enumerate((names[::2], names[1::2])):
        members: list[Member] = [("0.png", picture(rng), {})]
        for name, kind in some:
            members += IN_TARS[kind](name, rng)
        with tarfile.open(
            root / f"{shard}.tar", "w", format=tarfile.GNU_FORMAT, errors="surrogateescape"
        ) as tar:
            tar.addfile(_directory("folder"))
            for name, data, changes in members:
                member = tarfile.TarInfo(name)
                member.size = len(data)
                for field, value in changes.items():
                    setattr(member, field, value)
                tar.addfile(member, io.BytesIO(data))
        count += len(members)
        if rng.random() < 0.2:  # another archive after its end
            count += _append_archive(root / f"{shard}.tar", rng)
    if rng.random() < 0.3:
        with (root / "1.tar").open("r+b") as file:  # the end mark is gone: "(the rest)" of it is told
            end = file.read().rstrip(b"\0")
            file.truncate(-(-len(end) // 512) * 512)
        count += 1
    if rng.random() < 0.3:
        count += _put(root, "2.tar", b"")
    if rng.random() < 0.3:
        count += _put(root, "3.tar", gzip.compress(b"x" * 2000))
    if rng.random() < 0.3:
        count += _put(root, "README", b"words") + _put(root, "4.tar.gz", gzip.compress(b"x"))
    return count


def _append_archive(path: Path, rng: Rng) -> int:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        member = tarfile.TarInfo("after.png")
        data = picture(rng)
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    with path.open("ab") as file:
        file.write(sink.getvalue())
    return 1


def _directory(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = tarfile.DIRTYPE
    return member


def write_parquet(root: Path, rng: Rng) -> int:
    """Write Parquet files of differing columns, damaged and empty ones among them."""
    root.mkdir(parents=True)
    count = 0

    def table(name: str, rows: int, **columns: Any) -> None:
        nonlocal count
        images = [
            picture(rng) if rng.random() < 0.8 else (None if rng.random() < 0.5 else b"x")
            for _ in range(rows)
        ]
        images[:1] = [picture(rng)]
        pq.write_table(
            pa.table({"image": pa.array(images, pa.binary()), **columns}), root / name, row_group_size=3
        )
        count += rows

    table("0.parquet", 4, caption=pa.array(["a", None, "", "d"]))
    if rng.random() < 0.5:
        table("1.parquet", 5)
    if rng.random() < 0.5:
        table("2.parquet", 2, caption=pa.array([["a", "b"], []]))
    if rng.random() < 0.5:
        table("3.parquet", 3, caption=pa.array([1, 2, 3]))
    if rng.random() < 0.5:
        pq.write_table(pa.table({"url": ["u", "v"]}), root / "4.parquet")
        count += 1
    if rng.random() < 0.5:
        count += _put(root, "5.parquet", b"")
    if rng.random() < 0.5:
        table("6.parquet", 4, caption=pa.array(["a", "b", "a", "b"]).dictionary_encode())
    if rng.random() < 0.5:
        table("7.parquet", 7, prompt=pa.array(list("abcdefg"), pa.string_view()))
        data = bytearray((root / "7.parquet").read_bytes())
        data[40:60] = bytes(20)  # the first group of rows is damaged
        (root / "7.parquet").write_bytes(bytes(data))
    if rng.random() < 0.5:
        count += _put(root, "notes.txt", b"words")
    if rng.random() < 0.5:
        names, offsets = b"ab\xff\xfecd", np.array([0, 2, 4, 6], np.int32)
        broken = pa.StringArray.from_buffers(3, pa.py_buffer(offsets), pa.py_buffer(names))
        table("9.parquet", 3, caption=broken)
    if rng.random() < 0.5:
        twice = [pa.array([picture(rng)]), pa.array([picture(rng)])]
        pq.write_table(pa.table(twice, names=["image", "image"]), root / "a.parquet")
        count += 1
    if rng.random() < 0.5:
        (root / "8.parquet").symlink_to("/nowhere")
        count += 1
    return count


def write_arrays(root: Path, rng: Rng) -> int:
    """Write arrays: cut, of other sizes and types, and what is none."""
    root.mkdir(parents=True)
    count = 0

    def array(name: str, shape: tuple[int, ...], kind: str = "uint8") -> Path:
        np.save(root / name, rng.integers(0, 256, shape).astype(kind))
        return root / name

    array("0.npy", (5, SIDE, SIDE, 3))
    count += 5
    if rng.random() < 0.5:
        path = array("1.npy", (9, SIDE, SIDE, 3))
        path.write_bytes(path.read_bytes()[: -int(rng.integers(1, 8 * SIDE * SIDE * 3))])
        count += 9
    if rng.random() < 0.5:
        array("2.npy", (3, SIDE + 1, SIDE, 3))
        count += 3
    if rng.random() < 0.5:
        array("3.npy", (3, SIDE, SIDE, 3), "float32")
        count += 1
    if rng.random() < 0.5:
        array("4.npy", (3, 3, SIDE, SIDE))
        count += 1
    if rng.random() < 0.5:
        count += _put(root, "5.npy", b"\x93NUMPY\x01\x00v\x00{'descr': ")
    if rng.random() < 0.5:
        count += _pipe(root, "6.npy")
    if rng.random() < 0.5:
        count += _put(root, "notes.md", b"words")
    return count


def write_generations(root: Path, rng: Rng, kinds: list[str]) -> int:
    """Write folders of generations, one a prompt, with oddities in them and beside them."""
    root.mkdir(parents=True)
    count = 0
    for prompt in ("a fox", "a hill"):
        (root / prompt).mkdir()
        count += sum(_put(root / prompt, f"{i}.png", picture(rng)) for i in range(3))
    for i, kind in enumerate(kinds):
        count += IN_FOLDERS[kind](root / ("a fox" if rng.random() < 0.5 else "a hill"), f"x{i}", rng)
    if rng.random() < 0.4:
        count += 1 + _folder(root, "empty prompt")
    if rng.random() < 0.4:
        count += _put(root, "notes.md", b"words") + _put(root, ".DS_Store", b"x")
    if rng.random() < 0.4:
        count += _put(root, "prompts.log", b"words")
    return count


#: Texts of a list of prompts; the ones without a letter are blank.
TEXTS = (
    "a fox",
    "a hill",
    "un caf\u00e9",
    "a\u2028b",
    "",
    "   ",
    "\t",
    "a, b",
    'say "x"',
    "\x0c",
    "\u0085",
    "#",
)


def write_texts(path: Path, rng: Rng) -> list[str | None]:
    """Write a list of prompts of the kind that the suffix says, with blank and repeated lines; return its texts."""
    texts: list[str | None] = [TEXTS[i] for i in rng.integers(0, len(TEXTS), int(rng.integers(1, 30)))]
    if path.suffix == ".parquet":
        texts = [None if rng.random() < 0.1 else text for text in texts]
        pq.write_table(pa.table({"id": range(len(texts)), "prompt": pa.array(texts, pa.string())}), path)
        return texts
    end = "\r\n" if rng.random() < 0.3 else "\n"
    mark = "\ufeff" if rng.random() < 0.3 else ""
    if path.suffix == ".txt":
        lines = [text or "" for text in texts]
    elif path.suffix == ".jsonl":
        lines = [json.dumps({"prompt": t}) if rng.random() < 0.9 else json.dumps(t) for t in texts]
    else:
        between = "," if path.suffix == ".csv" else "\t"
        quoted = ['"' + (t or "").replace('"', '""') + '"' for t in texts]
        lines = [f"id{between}prompt", *(f"{i}{between}{text}" for i, text in enumerate(quoted))]
    last = end if rng.random() < 0.7 or not lines[-1] else ""
    path.write_bytes((mark + end.join(lines) + last).encode())
    return texts
