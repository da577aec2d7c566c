"""A PNG with one flipped bit is refused or has the pixels that it had: of every colour type, with either decoder."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from memcore.images import UnreadableImage, decode
from memcore.images import png as png_module

#: Bits that are tried of each kind; a file has some 3,000.
TRIED = 400


@pytest.mark.parametrize("fast", [True, False], ids=["as installed", "without kornia-rs"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "RGBA", "LA"])
def test_a_flipped_bit_gives_no_other_pixels(mode: str, fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A-D10: where kornia-rs is installed, checksums were looked at for none but RGB."""
    if not fast:
        monkeypatch.setattr(png_module, "_fast", None)
    pixels = np.random.default_rng(1).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(sink, "png")
    whole, background = sink.getvalue(), (1, 2, 3)
    right = decode(whole, background=background)
    refused = 0
    for bit in np.random.default_rng(2).integers(0, 8 * len(whole), TRIED).tolist():
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
        try:
            found = decode(bytes(broken), background=background)
        except UnreadableImage:
            refused += 1
        else:
            assert np.array_equal(found, right), bit
    assert refused > 0.9 * TRIED
