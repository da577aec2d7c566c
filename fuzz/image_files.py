"""Sound files of every kind that is read, and changes of them that keep their checksums right."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

Rng = np.random.Generator

#: Name -> what Pillow is told to save it as; ``mode`` is the image's own.
IMAGES: dict[str, dict[str, Any]] = {
    "png": {},
    "grey.png": {"mode": "L"},
    "palette.png": {"mode": "P"},
    "bits.png": {"mode": "1"},
    "alpha.png": {"mode": "RGBA"},
    "grey-alpha.png": {"mode": "LA"},
    "deep.png": {"mode": "I;16"},
    "turned.png": {"exif": 6},
    "frames.png": {"frames": 2},
    "jpeg": {"quality": 85},
    "progressive.jpeg": {"progressive": True},
    "grey.jpeg": {"mode": "L"},
    "cmyk.jpeg": {"mode": "CMYK"},
    "turned.jpeg": {"exif": 5},
    "halved.jpeg": {"subsampling": "4:2:0", "restart_marker_blocks": 1},
    "webp": {},
    "lossless.webp": {"lossless": True},
    "alpha.webp": {"mode": "RGBA"},
    "frames.webp": {"frames": 2},
    "bmp": {},
    "palette.bmp": {"mode": "P"},
    "bits.bmp": {"mode": "1"},
    "gif": {"mode": "P"},
    "frames.gif": {"mode": "P", "frames": 2},
    "tiff": {},
    "lzw.tiff": {"compression": "tiff_lzw"},
    "deflate.tiff": {"compression": "tiff_adobe_deflate"},
    "bits.tiff": {"mode": "1", "compression": "group4"},
    "jpeg.tiff": {"compression": "jpeg"},
}


def image(kind: str, rng: Rng) -> bytes:
    """Return a small image of a kind."""
    options = dict(IMAGES[kind])
    mode, orientation, frames = options.pop("mode", "RGB"), options.pop("exif", 1), options.pop("frames", 1)
    pixels = rng.integers(0, 256, (12, 16, 4 if mode == "RGBA" else 3), dtype=np.uint8)
    if mode == "RGBA" and rng.random() < 0.5:
        pixels[..., 3] = 255
    opened = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257 if mode == "I;16" else pixels).convert(
        mode
    )
    if frames > 1:
        other = Image.fromarray(255 - pixels).convert(mode)
        options |= {"save_all": True, "append_images": [other] * (frames - 1)}
    if orientation > 1:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    sink = io.BytesIO()
    opened.save(sink, kind.rpartition(".")[2], **options)
    return sink.getvalue()


def containers(rng: Rng) -> dict[str, bytes]:
    """Return a file of each kind that holds several images, or texts."""
    pictures = [image(kind, rng) for kind in ("png", "jpeg", "webp", "png")]
    array, scattered, prompts, packed, table = (io.BytesIO() for _ in range(5))
    pixels = rng.integers(0, 256, (5, 12, 16, 3), dtype=np.uint8)
    np.save(array, pixels)
    np.save(scattered, np.asfortranarray(pixels))
    np.save(prompts, pixels[None].repeat(2, 0))
    np.savez_compressed(packed, images=pixels)
    columns = {"image": pictures, "caption": ["a", "b", None, "d"], "seed": [1, 2, 3, 4]}
    pq.write_table(pa.table(columns), table, row_group_size=2)
    tar = archive(pictures)
    lines = b'{"file_name": "a.png", "prompt": "a fox"}\n' * 4
    return {
        "a.npy": array.getvalue(),
        "f.npy": scattered.getvalue(),
        "several.npy": prompts.getvalue(),
        "a.npz": packed.getvalue(),
        "a.tar": tar,
        "a.parquet": table.getvalue(),
        "p.txt": "\ufeffa fox\r\n\nein Häs’chen\n".encode(),
        "p.csv": b'prompt,seed\n"a, b",1\n"c\nd",2\n',
        "p.tsv": b"prompt\tseed\na b\t1\nc\t2\n",
        "p.jsonl": lines,
        "metadata.jsonl": lines,
        "metadata.csv": b'file_name,text\na.png,"a, b"\n',
        "g.tar": gzip.compress(tar),
    }


def archive(pictures: list[bytes]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as file:
        for i, data in enumerate(pictures):
            own = (("png", data), ("json", b'{"caption": "a fox", "seed": 7}'), ("txt", b"a fox"))
            for suffix, content in own:
                member = tarfile.TarInfo(f"{i}.{suffix}")
                member.size, member.pax_headers = len(content), {"comment": "x"} if i % 2 else {}
                file.addfile(member, io.BytesIO(content))
    return sink.getvalue()


# --- changes that keep checksums right


def change_png(data: bytes, rng: Rng) -> bytes:
    """Return a PNG with chunks changed, doubled, dropped, swapped or put in, each with its right checksum."""
    chunks = _chunks(data)
    if not chunks:
        return data
    at = int(rng.integers(0, len(chunks)))
    kind = int(rng.integers(0, 6))
    name, content = chunks[at]
    if kind == 0:
        chunks.insert(int(rng.integers(0, len(chunks) + 1)), chunks[at])
    elif kind == 1:
        del chunks[at]
    elif kind == 2:
        other = int(rng.integers(0, len(chunks)))
        chunks[at], chunks[other] = chunks[other], chunks[at]
    elif kind == 3:
        chunks.insert(int(rng.integers(0, len(chunks) + 1)), _odd_chunk(rng))
    elif kind == 4 and content:
        place, changed = int(rng.integers(0, len(content))), bytearray(content)
        changed[place] = int(rng.choice([0, 1, 2, 3, 4, 6, 8, 16, 127, 128, 255]))
        chunks[at] = name, bytes(changed)
    else:
        chunks[at] = (name, content[: int(rng.integers(0, len(content) + 1))])
    return data[:8] + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def bare_png(data: bytes) -> bytes | None:
    """Return a PNG without ancillary chunks that do not matter, and with the right sum at its stream's end; None for others.

    A decoder may look at neither: each chunk has a checksum of its own.
    """
    if data[:4] != b"\x89PNG":
        return None
    kept = (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT")
    every = _chunks(data)
    names = [name for name, _ in every]
    end = names.index(b"IEND") if b"IEND" in names else len(names)
    chunks = [chunk for chunk in every[:end] if chunk[0] in kept]
    stream = b"".join(content for name, content in chunks if name == b"IDAT")
    raw = zlib.decompressobj(-15)
    pixels = raw.decompress(stream[2:])
    if not raw.eof:
        return None
    end = len(stream) - len(raw.unused_data)
    whole = stream[:end] + zlib.adler32(pixels).to_bytes(4)
    first = [chunk for chunk in chunks if chunk[0] != b"IDAT"]
    return data[:8] + b"".join(_chunk(*chunk) for chunk in [*first, (b"IDAT", whole), (b"IEND", b"")])


def _odd_chunk(rng: Rng) -> tuple[bytes, bytes]:
    bomb = zlib.compress(bytes(1 << 20), 9)
    odd: tuple[tuple[bytes, bytes], ...] = (
        (b"tRNS", bytes(6)),
        (b"tRNS", b"\0"),
        (b"acTL", struct.pack(">II", 2, 0)),
        (b"acTL", struct.pack(">II", 1, 0)),
        (b"eXIf", b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"),
        (b"zTXt", b"key\0\0" + bomb),
        (b"iTXt", b"key\0\1\0\0\0" + bomb),
        (b"iCCP", b"name\0\0" + bomb),
        (b"PLTE", rng.bytes(3 * int(rng.integers(0, 257)))),
        (b"IDAT", bomb),
        (b"IDAT", b""),
        (b"IEND", b""),
        (
            b"IHDR",
            struct.pack(
                ">IIBBBBB", 16, 12, int(rng.choice([1, 2, 4, 8, 16])), int(rng.integers(0, 8)), 0, 0, 1
            ),
        ),
        (b"fcTL", rng.bytes(26)),
        (rng.bytes(4), rng.bytes(8)),
    )
    return odd[int(rng.integers(0, len(odd)))]


#: Fields of a tar header: name, offset and length.
_FIELDS = ((0, 100), (100, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8), (345, 155))


def change_tar(data: bytes, rng: Rng) -> bytes:
    """Return a tar with a field of a header changed, whose checksum is right all the same."""
    held = bytearray(data)
    heads = [at for at in range(0, len(held) - 511, 512) if held[at + 257 : at + 262] == b"ustar"]
    if not heads:
        return data
    at = heads[int(rng.integers(0, len(heads)))]
    start, length = _FIELDS[int(rng.integers(0, len(_FIELDS)))]
    odd = (
        *(
            b"../../out.png",
            b"/etc/passwd",
            b"a/" * 49,
            b"\x1b[31m.png",
            b"\xff\xfe.png",
            b"",
            b"x.png",
            b"._0.png",
        ),
        *(
            b"\xff" * 10 + b"\xfe\x00",
            b"77777777777\0",
            b"00000000000\0",
            b"\x80" + bytes(10) + b"\x40",
            b"\xff" * 12,
            b"-1",
            b"9" * 12,
            b" 17 ",
        ),
        *(b"0", b"1", b"2", b"3", b"5", b"6", b"L", b"K", b"x", b"g", b"S", b"X", b"\0", b"7"),
        rng.bytes(length),
    )
    held[at + start : at + start + length] = odd[int(rng.integers(0, len(odd)))][:length].ljust(length, b"\0")
    held[at + 148 : at + 156] = b" " * 8
    held[at + 148 : at + 156] = b"%06o\0 " % sum(held[at : at + 512])
    return bytes(held)


def change_npy(data: bytes, rng: Rng) -> bytes:
    """Return an .npy whose header says something else, in as many bytes."""
    end = 10 + int.from_bytes(data[8:10], "little")
    text = data[10:end].decode("latin-1")
    odd = (
        *(
            "(0,)",
            "()",
            "(-1, 12, 16, 3)",
            "(5, 12, 16, 5)",
            "(10**40,)",
            "(5, 12, 16, True)",
            "(5.0, 12, 16, 3)",
        ),
        *(
            "(1099511627776, 1, 1, 1)",
            "(5, 67108864, 1, 1)",
            "(5, 8192, 8192, 3)",
            "[5, 12, 16, 3]",
            "(5, 12, 3, 16)",
        ),
    )
    types = (
        "'|O'",
        "'<f4'",
        "'>u2'",
        "'|b1'",
        "'|S3'",
        "[('a', '|u1')]",
        "'|u1'",
        "'<M8[s]'",
        "None",
        "'|V1'",
    )
    begin = text.index("(")
    kind = int(rng.integers(0, 3))
    if kind == 0:
        text = text[:begin] + odd[int(rng.integers(0, len(odd)))] + text[text.index(")") + 1 :]
    elif kind == 1:
        text = text.replace("'|u1'", types[int(rng.integers(0, len(types)))])
    else:
        text = text.replace("False", ("True", "None", "1", "[]")[int(rng.integers(0, 4))])
    head = text.rstrip().encode("latin-1").ljust(end - 11) + b"\n"
    return data[:8] + len(head).to_bytes(2, "little") + head + data[end:]


def odd_table(pictures: list[bytes], rng: Rng) -> bytes:
    """Return a Parquet file whose columns have unusual types, names and values."""
    rows = len(pictures)
    raw = [None if rng.random() < 0.2 else p for p in pictures]
    kinds: tuple[Any, ...] = (
        pa.array(raw, pa.binary()),
        pa.array(raw, pa.large_binary()),
        pa.array([{"bytes": p, "path": "a"} for p in raw]),
        pa.array([{"bytes": None, "path": "/etc/passwd"}] * rows),
        pa.array([[p] for p in raw]),
        pa.array(raw, pa.binary()).dictionary_encode(),
        pa.array([b"12345678"] * rows, pa.binary(8)),
        pa.array(["text"] * rows),
        pa.array([{"bytes": {"bytes": p}} for p in raw]),
    )
    texts: tuple[Any, ...] = (
        *(pa.array(["\x1b[31m", "\0", "é" * 70_000, ""][:rows]), pa.array([1, 2, 3, 4][:rows])),
        *(
            pa.array([b"\xff\xfe"] * rows),
            pa.array([["a", "b"]] * rows),
            pa.nulls(rows),
            pa.array([1.5] * rows),
        ),
        pa.array(["a", None] * 2).dictionary_encode()[:rows],
    )
    seeds: tuple[Any, ...] = (
        pa.array([2**63, 1, 2, 3][:rows], pa.uint64()),
        *(pa.array([-1, None, 0, 7][:rows]), pa.array([1.5, 2, 1e300, 3.0][:rows])),
        *(pa.array(["1", "x", "", "7"][:rows]), pa.array([7] * rows), pa.nulls(rows), pa.array([True] * rows)),
    )  # fmt: skip
    names = ["image", "caption", "seed"]
    if rng.random() < 0.3:
        names[int(rng.integers(0, 3))] = ("\x1b]0;x\x07", "image", "", "text", "prompt", "jpg", "a.b")[
            int(rng.integers(0, 7))
        ]
    columns = [pool[int(rng.integers(0, len(pool)))] for pool in (kinds, texts, seeds)]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(columns, names=names), sink, row_group_size=int(rng.integers(1, 5)))
    return sink.getvalue()
