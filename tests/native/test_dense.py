"""Dense tiled l2 of the native core against the NumPy int64 oracle, on every instruction set: equality, not closeness."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memcore import _core, isa
from tests.support.native_oracle import ISAS, MAX_UINT32, native_ssd, planar, ssd_dtype, tile_ssd

pytestmark = pytest.mark.parametrize("name", ISAS)


def random_images(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("n", [*range(1, 51), 64, 65, 100])
def test_every_number_of_images(name: str, n: int) -> None:
    images = random_images(n, n, 4, 6, 3)
    with isa.using(name):
        assert np.array_equal(native_ssd(images, None, (2, 3)), tile_ssd(images, images, (2, 3)))


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_tail(name: str, width: int, channels: int) -> None:
    images = random_images(width, 19, 3, width, channels)
    with isa.using(name):
        for view in (images, planar(images)):
            assert np.array_equal(native_ssd(view, None, (1, width)), tile_ssd(images, images, (1, width)))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_shape_layout_and_thread_count(name: str, data: st.DataObject) -> None:
    n, m = data.draw(st.integers(1, 40)), data.draw(st.integers(0, 40))
    th, tw = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 40))
    grid = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    channels = data.draw(st.sampled_from([1, 2, 3, 4]))
    threads = data.draw(st.sampled_from([1, 2, 3, 0]))
    seed = data.draw(st.integers(0, 2**32 - 1))
    shape = (th * grid[0], tw * grid[1], channels)
    a, b = random_images(seed, n, *shape), random_images(seed + 1, m, *shape) if m else None
    if data.draw(st.booleans()):
        a[0], a[-1] = 0, 255
    expected = tile_ssd(a, a if b is None else b, (th, tw))
    if data.draw(st.booleans()):
        a, b = planar(a), None if b is None else planar(b)
    if data.draw(st.booleans()):  # reversed images: a negative outer stride
        a = np.ascontiguousarray(a[::-1])[::-1] if a.strides[-1] == 1 else a[::-1][::-1]
    with isa.using(name):
        assert np.array_equal(native_ssd(a, b, (th, tw), threads), expected)


def test_extremes_at_the_limits_of_32_bits(name: str) -> None:
    for height, width, channels in [(128, 128, 3), (1, MAX_UINT32, 1), (1, MAX_UINT32 + 1, 1), (160, 160, 3)]:
        images = np.zeros((4, height, width, channels), np.uint8)
        images[1], images[2] = 255, 128
        images[3] = random_images(0, height, width, channels)
        tile_bytes = height * width * channels
        with isa.using(name):
            for view in (images, planar(images)):
                ssd = native_ssd(view, None, (height, width))
                assert ssd.dtype == ssd_dtype(tile_bytes)
                assert ssd[0, 1] == tile_bytes * 255**2
                assert np.array_equal(ssd, tile_ssd(images, images, (height, width)))
                assert np.array_equal(native_ssd(view, view[:2], (height, width)), ssd[:, :2])


def test_wide_tiles_in_a_grid(name: str) -> None:
    images = random_images(5, 5, 300, 600, 1)
    images[0], images[1] = 0, 255
    with isa.using(name):
        assert np.array_equal(native_ssd(images, None, (300, 300), 2), tile_ssd(images, images, (300, 300)))


@pytest.mark.parametrize("n", [527, 528, 529, 1100])
def test_more_images_than_a_block(name: str, n: int) -> None:
    images = random_images(n, n, 2, 4, 1)
    with isa.using(name):
        for threads in (1, 2):
            assert np.array_equal(native_ssd(images, None, (2, 2), threads), tile_ssd(images, images, (2, 2)))
        other = native_ssd(images[:600], images[n - 530 :], (2, 2), 2)
        assert np.array_equal(other, tile_ssd(images[:600], images[n - 530 :], (2, 2)))


def test_batches_and_broadcast_strides(name: str) -> None:
    images = random_images(3, 5, 18, 8, 8, 3)
    with isa.using(name):
        for threads in (1, 2):
            out = np.empty((5, 18, 18), np.uint32)
            _core.tiled_l2_ssd(images, None, 4, 4, out, threads)
            assert np.array_equal(out, np.stack([tile_ssd(x, x, (4, 4)) for x in images]))
            # One reference set for all batches, without copying it five times.
            shared = np.broadcast_to(images[:1], images.shape)
            _core.tiled_l2_ssd(images, shared, 4, 4, out, threads)
            assert np.array_equal(out, np.stack([tile_ssd(x, images[0], (4, 4)) for x in images]))


def test_float_answers_are_the_same_bits_everywhere(name: str) -> None:
    rng = np.random.default_rng(0)
    for shape, tile in [((37, 16, 24, 3), (8, 8)), ((5, 70, 70, 3), (70, 70)), ((3, 3, 5, 1), (1, 5))]:
        base = rng.random(shape, dtype=np.float32)
        half = base.astype(np.float16)
        bfloat = (base.view(np.uint32) >> 16).astype(np.uint16)
        for images, values, is_bfloat in [
            (base, base, False),
            (half, half.astype(np.float64), False),
            (bfloat, (bfloat.astype(np.uint32) << 16).view(np.float32), True),
        ]:
            answers = []
            for which, threads in [(name, 1), (name, 2), ("scalar", 1)]:
                out = np.empty((1, len(images), len(images)), np.float32)
                with isa.using(which):
                    _core.tiled_l2_float(images[None], None, *tile, out, threads, is_bfloat)
                answers.append(out.tobytes())
            assert len(set(answers)) == 1
            th, tw = tile
            n, h, w, c = shape
            x = values.astype(np.float64).reshape(n, h // th, th, w // tw, tw, c)
            for i in range(n):
                exact = np.sqrt(((x - x[i]) ** 2).mean((2, 4, 5)).max((1, 2)))
                np.testing.assert_allclose(out[0, i], exact, rtol=1e-5, atol=1e-7)
            assert np.array_equal(out[0], out[0].T)
            other = np.empty((1, 2, len(images)), np.float32)
            with isa.using(name):
                _core.tiled_l2_float(images[None, :2], images[None], *tile, other, 1, is_bfloat)
            assert np.array_equal(other[0], out[0, :2])


def test_check_unit_interval(name: str) -> None:
    del name
    a = np.linspace(0, 1, 3 * 5 * 700, dtype=np.float32).reshape(3, 5, 700)
    assert _core.check_unit_interval(a) == -1
    assert _core.check_unit_interval(a.astype(np.float16)) == -1
    for bad in (np.nan, -1e-7, 1.0000001, np.inf, -np.inf):
        for where in (0, 17, 3 * 5 * 700 - 1):
            b = a.copy()
            b.ravel()[where] = bad
            assert _core.check_unit_interval(b) == where
            swapped = np.asfortranarray(b)
            assert _core.check_unit_interval(swapped) == where
    negative_zero = np.array([-0.0, 0.5], np.float16)
    assert _core.check_unit_interval(negative_zero) == -1
    assert _core.check_unit_interval(np.array([0, 0x3F80, 0x3F81], np.uint16), bfloat16=True) == 2
    assert _core.check_unit_interval(np.array([0x7FC0], np.uint16), bfloat16=True) == 0
    assert _core.check_unit_interval(np.zeros((0, 4), np.float32)) == -1


def test_bad_arguments_are_refused(name: str) -> None:
    images = random_images(0, 1, 3, 8, 8, 3)
    out = np.zeros((1, 3, 3), np.uint32)
    bad_calls = [
        (images[..., ::2, :], None, 4, 4, out),  # every second pixel: not in place
        (images, None, 3, 4, out),
        (images, None, 0, 4, out),
        (images, None, 4, 4, out[:, :2]),
        (images, None, 4, 4, np.zeros((1, 3, 6), np.uint32)[:, :, ::2]),
        (images, planar(images), 4, 4, out),  # one channels last, one first
        (images, images[:, :, :4], 4, 4, out),
    ]
    with isa.using(name):
        for call in bad_calls:
            with pytest.raises(ValueError):
                _core.tiled_l2_ssd(*call, 1)
        with pytest.raises(ValueError, match="threads"):
            _core.tiled_l2_ssd(images, None, 4, 4, out, -1)
        for call in [(images, None, 4, 4, out.astype(np.uint64)), (images.astype(np.int16), None, 4, 4, out)]:
            with pytest.raises(TypeError):
                _core.tiled_l2_ssd(*call, 1)
        read_only = out.copy()
        read_only.flags.writeable = False
        with pytest.raises(ValueError, match="writable"):
            _core.tiled_l2_ssd(images, None, 4, 4, read_only, 1)
