"""Every trap of stored images: what is exact is equal, what would lie is refused with its reason code."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from memcore.images import MAX_PIXELS, REASONS, UnreadableImage, decode, decode_file
from memcore.images import jpeg as jpeg_module
from memcore.images import png as png_module

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.*")

Pixels = NDArray[np.uint8]
BACKGROUND = (255, 128, 0)


@pytest.fixture
def picture(rng: np.random.Generator) -> Pixels:
    """(24, 32, 3) with smooth parts and noise, so that a JPEG of it is not trivial."""
    ramp = np.linspace(0, 255, 32)[None, :, None] * np.ones((24, 1, 3)) * (1.0, 0.5, 0.25)
    return np.clip(ramp + rng.integers(-20, 20, (24, 32, 3)), 0, 255).astype(np.uint8)


def encoded(pixels: Pixels, kind: str, mode: str | None = None, **options: object) -> bytes:
    image = Image.fromarray(pixels)
    sink = io.BytesIO()
    (image.convert(mode) if mode else image).save(sink, kind, **options)
    return sink.getvalue()


def reason(data: bytes, **options: object) -> str:
    with pytest.raises(UnreadableImage) as caught:
        decode(data, **options)  # type: ignore[arg-type]
    assert caught.value.reason in REASONS
    assert str(caught.value)
    return caught.value.reason


def outcome(data: bytes) -> Pixels | str:
    """The pixels, or the reason code."""
    try:
        return decode(data)
    except UnreadableImage as error:
        return error.reason


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, depth: int, colour: int, raw: bytes, *extra: bytes) -> bytes:
    """A PNG by hand; ``raw`` are its filtered rows."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(extra) + body


@pytest.mark.parametrize("kind", ["png", "webp", "bmp", "tiff"])
def test_lossless_formats_give_their_pixels(picture: Pixels, kind: str) -> None:
    options = {"lossless": True} if kind == "webp" else {}
    got = decode(encoded(picture, kind, **options))
    assert got.dtype == np.uint8
    assert got.flags.c_contiguous
    assert np.array_equal(got, picture)


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff", "gif"])
@pytest.mark.parametrize("mode", ["L", "P", "1"])
def test_grey_palette_and_bilevel_are_exact(picture: Pixels, kind: str, mode: str) -> None:
    image = Image.fromarray(picture).convert(mode)
    sink = io.BytesIO()
    image.save(sink, kind)
    assert np.array_equal(decode(sink.getvalue()), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(
    "options",
    [
        {"quality": 90},
        {"quality": 95, "subsampling": 0},
        {"quality": 75, "subsampling": 1},
        {"quality": 60, "subsampling": 2, "progressive": True},
        {"quality": 85, "optimize": True, "restart_marker_blocks": 2},
    ],
    ids=["420", "444", "422", "progressive", "restarts"],
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_is_what_pillow_decodes(picture: Pixels, options: dict, mode: str) -> None:
    for height in (24, 17):
        data = encoded(picture[:height, : height + 5], "jpeg", mode, **options)
        assert np.array_equal(decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_as_pillow_does(picture: Pixels, kind: str, orientation: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "webp" else {}
    data = encoded(picture, kind, exif=exif, **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    assert np.array_equal(decode(data), expected)
    shape = (32, 24, 3) if orientation > 4 else (24, 32, 3)
    assert decode(data, shape=shape).shape == shape
    assert reason(data, shape=(shape[1], shape[0], 3)) == "wrong-size"


@pytest.mark.skipif(png_module._fast is None, reason="kornia-rs is not installed: memcore-audit[fast]")
@pytest.mark.parametrize("damage", [None, 40, 60, 0.5])
def test_the_fast_decoder_of_png_says_what_pillow_says(
    picture: Pixels, damage: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray(encoded(picture, "png"))
    if damage is not None:
        data[int(damage * len(data)) if damage < 1 else int(damage)] ^= 0x10
    fast = outcome(bytes(data))
    out = np.empty_like(picture)
    if damage is None:
        assert decode(bytes(data), out=out) is out
        assert np.array_equal(out, picture)
    monkeypatch.setattr(png_module, "_fast", None)
    slow = outcome(bytes(data))
    assert np.array_equal(fast, slow)


def test_a_damaged_orientation_says_nothing(picture: Pixels) -> None:
    data = encoded(picture, "png")
    at = data.index(b"IDAT") - 4
    assert np.array_equal(decode(data[:at] + chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff") + data[at:]), picture)


@pytest.mark.parametrize("fast", [True, False])
def test_a_flipped_bit_of_an_orientation(
    picture: Pixels, monkeypatch: pytest.MonkeyPatch, fast: bool
) -> None:
    """No decoder need look at the checksums of ancillary chunks; of one that is read wrongly the image is turned."""
    if not fast:
        monkeypatch.setattr(png_module, "_fast", None)
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(picture, "png", exif=exif.tobytes())
    begin, end = data.index(b"eXIf"), data.index(b"IDAT") - 4
    for bit in range(8 * begin, 8 * end):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        assert outcome(bytes(changed)) == "unreadable", bit
    at = data.index(b"IDAT") - 4
    for name, content in ((b"acTL", struct.pack(">II", 1, 0)), (b"tRNS", bytes(6)), (b"tEXt", b"key\0x")):
        whole = chunk(name, content)
        assert outcome(data[:at] + whole[:-1] + bytes([whole[-1] ^ 1]) + data[at:]) == "unreadable"


def test_more_than_eight_bits_are_refused(rng: np.random.Generator) -> None:
    deep = rng.integers(0, 65536, (8, 8), dtype=np.uint16)
    assert reason(encoded(deep, "png")) == "depth"
    assert reason(encoded(deep, "tiff")) == "depth"
    assert reason(encoded(deep.astype(np.float32), "tiff")) == "depth"
    assert reason(encoded(deep.astype(np.int32), "tiff")) == "depth"
    for colour, channels in ((2, 3), (4, 2), (6, 4)):  # Pillow opens these as eight bits and says nothing
        row = b"\0" + bytes(8 * channels * 2)
        assert reason(png(8, 8, 16, colour, row * 8)) == "depth"


@pytest.mark.parametrize("kind", ["png", "webp", "tiff"])
def test_transparency_is_refused_or_composited_as_declared(picture: Pixels, kind: str) -> None:
    options = {"lossless": True, "exact": True} if kind == "webp" else {}
    alpha = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (24, 1))[..., None]
    data = encoded(np.concatenate([picture, alpha], axis=2), kind, **options)
    assert reason(data) == "alpha"
    a = alpha.astype(float) / 255
    exact = picture * a + np.array(BACKGROUND) * (1 - a)
    assert np.array_equal(decode(data, background=BACKGROUND), np.floor(exact + 0.5 + 1e-9).astype(np.uint8))
    opaque = np.concatenate([picture, np.full_like(alpha, 255)], axis=2)
    assert np.array_equal(decode(encoded(opaque, kind, **options)), picture)
    assert np.array_equal(decode(encoded(opaque, kind, **options), background=BACKGROUND), picture)


def test_transparency_of_palettes_and_colour_keys(picture: Pixels) -> None:
    image = Image.fromarray(picture).convert("P")
    for kind in ("png", "gif"):
        sink = io.BytesIO()
        image.save(sink, kind, transparency=int(np.asarray(image)[0, 0]))
        assert reason(sink.getvalue()) == "alpha"
        got = decode(sink.getvalue(), background=BACKGROUND)
        clear = np.asarray(image) == np.asarray(image)[0, 0]
        assert (got[clear] == BACKGROUND).all()
        assert np.array_equal(got[~clear], np.asarray(image.convert("RGB"))[~clear])
    key = encoded(picture, "png", transparency=tuple(int(v) for v in picture[3, 4]))
    assert reason(key) == "alpha"
    assert reason(encoded(picture[..., 0], "png", transparency=int(picture[3, 4, 0]))) == "alpha"
    two = encoded(np.dstack([picture[..., 0], picture[..., 1]]), "png")
    assert reason(two) == "alpha"


@pytest.mark.parametrize("kind", ["jpeg", "tiff"])
def test_cmyk_is_refused(picture: Pixels, kind: str) -> None:
    assert reason(encoded(picture, kind, "CMYK")) == "colour"
    if kind == "tiff":
        assert reason(encoded(picture, kind, "LAB")) == "colour"


@pytest.mark.parametrize("kind", ["png", "webp", "gif", "tiff"])
def test_animations_are_refused(picture: Pixels, kind: str) -> None:
    frames = [Image.fromarray(np.roll(picture, n, axis=0)) for n in range(3)]
    sink = io.BytesIO()
    frames[0].save(sink, kind, save_all=True, append_images=frames[1:])
    assert reason(sink.getvalue()) == "animated"


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "bmp", "tiff"])
def test_every_truncation_is_refused(picture: Pixels, kind: str) -> None:
    data = encoded(picture, kind)
    whole = decode(data)
    for length in range(0, len(data), 1 if len(data) < 800 else 7):
        got = outcome(data[:length])
        if isinstance(got, str):
            assert got in ("truncated", "unreadable")
        else:  # only padding after the image may be missing
            assert len(data) - length <= 4
            assert np.array_equal(got, whole)
    if kind in ("png", "jpeg"):
        assert reason(data[: len(data) * 3 // 4]) == "truncated"


def test_a_header_that_was_seen_before_says_the_same(
    picture: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one image after the other, what the last one's header said is never taken for another's."""
    turned = Image.Exif()
    turned[0x0112] = 6
    good = encoded(picture, "jpeg")
    files = [
        good,
        encoded(picture[::-1], "jpeg"),
        encoded(picture, "jpeg", quality=30),
        encoded(picture, "jpeg", progressive=True),
        encoded(picture, "jpeg", exif=turned),
        encoded(picture, "jpeg", "L"),
        encoded(picture, "jpeg", "CMYK"),
        encoded(picture[:, :-8], "jpeg"),
        *(good[:n] for n in (2, 30, 200, 600, 640, len(good) - 40)),
    ]

    def fresh(data: bytes) -> Pixels | str:
        monkeypatch.setattr(jpeg_module, "_last", (b"", (0, 0, 1)))
        return outcome(data)

    alone = [fresh(data) for data in files]
    assert len({a if isinstance(a, str) else a.shape for a in alone}) >= 5
    for first in files:
        for second, expected in zip(files, alone, strict=True):
            fresh(first)
            got = outcome(second)
            assert got == expected if isinstance(expected, str) else np.array_equal(got, expected)


def test_a_jpeg_with_a_hole_is_refused(picture: Pixels) -> None:
    """The end marker is there, but data are missing: Pillow fills the rest with grey and says nothing."""
    data = encoded(np.tile(picture, (4, 4, 1)), "jpeg", quality=95)
    cut = data[: len(data) // 2] + b"\xff\xd9"
    assert Image.open(io.BytesIO(cut)).convert("RGB").size == (128, 96)
    assert reason(cut) in ("truncated", "unreadable")


def test_bombs_are_refused_before_they_are_decoded(picture: Pixels) -> None:
    side = 60_000
    assert side**2 > MAX_PIXELS
    assert reason(png(side, side, 8, 2, b"\0" * 100)) == "too-large"
    assert reason(png(12_000, 12_000, 8, 2, b"\0" * 100)) == "too-large"
    small = encoded(picture, "jpeg")
    at = small.index(b"\xff\xc0") + 5
    assert reason(small[:at] + struct.pack(">HH", side, side) + small[at + 4 :]) == "too-large"
    many = encoded(picture, "jpeg", progressive=True)
    scan = many[many.rindex(b"\xff\xda") : -2]
    assert np.array_equal(decode(many), np.asarray(Image.open(io.BytesIO(many))))
    assert reason(many[:-2] + scan * 600 + b"\xff\xd9") == "too-large"
    for kind in ("gif", "bmp", "tiff"):
        sink = io.BytesIO()
        Image.new("1", (9000, 9000)).save(sink, kind)
        assert reason(sink.getvalue()) == "too-large"
    # more data than the header's size allows for: no more than the image is ever inflated
    assert np.array_equal(
        decode(png(2, 1, 8, 2, b"\0\1\2\3\4\5\6" + bytes(50_000_000))), [[[1, 2, 3], [4, 5, 6]]]
    )


def test_no_image_at_all() -> None:
    for data in (
        b"",
        b"GIF89a",
        b"\xff\xd8",
        b"\x89PNG\r\n\x1a\n",
        b"<svg/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n" + b" " * 999,
    ):
        assert reason(data) in ("unreadable", "truncated")


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match="No such file"):
        decode_file(tmp_path / "missing.png")
    with pytest.raises(UnreadableImage):
        decode_file(tmp_path)


@settings(max_examples=300)
@given(kind=st.sampled_from(["png", "jpeg", "webp", "gif", "tiff", "bmp"]), data=st.data())
def test_damaged_files_never_crash(kind: str, data: st.DataObject) -> None:
    pixels = np.arange(16 * 16 * 3, dtype=np.uint32).reshape(16, 16, 3).astype(np.uint8)
    content = bytearray(encoded(pixels, kind))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    got = outcome(bytes(content))
    if isinstance(got, str):
        assert got in REASONS
    else:
        assert got.dtype == np.uint8
        assert got.ndim == 3
        assert got.shape[2] == 3
