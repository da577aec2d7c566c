"""Pictures in a run's folder may be anything: the report opens PNGs alone, by their content, and none that is too large."""

from __future__ import annotations

import io
import os
import shutil
import stat
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memcore.report.page import write_report

DATA = Path(__file__).parents[1] / "data" / "format-1-late"  # its pictures have no digests
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n0 0 moveto showpage\n%%EOF\n"


def saved(kind: str) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(np.arange(768, dtype=np.uint16).astype(np.uint8).reshape(16, 16, 3)).save(sink, kind)
    return sink.getvalue()


def large_png() -> bytes:
    """Return a sound PNG of 13,300 x 13,300 pixels in a few kilobytes, which takes 0.5 GiB as RGB."""
    side = 13_300

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((1 + -(-side // 8)) * side))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


PICTURES: dict[str, Callable[[], bytes]] = {
    "EPS": lambda: EPS,
    "BMP": lambda: saved("bmp"),
    "TIFF": lambda: saved("tiff"),
    "damaged DDS": lambda: b"DDS |\0\0\0" + bytes(range(120)),
    "damaged AVIF": lambda: b"\0\0\0\x1cftypavif\0\0\0\0avifmif1" + bytes(range(200)),
    "large PNG": large_png,
    "nothing": lambda: b"",
}


@pytest.mark.parametrize("kind", PICTURES)
def test_no_other_picture_is_opened(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A-D6: Pillow knows many formats, and starts Ghostscript for one of them."""
    run, tools = tmp_path / "run", tmp_path / "tools"
    shutil.copytree(DATA, run)
    tools.mkdir()
    (tools / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path / 'started'}\nexit 1\n")
    (tools / "gs").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    data = PICTURES[kind]()
    replaced = [*run.glob("images/*/*.png"), *run.glob("training/*.png")]
    assert len(replaced) > 5
    for path in replaced:
        path.write_bytes(data)
    page = write_report(run).read_text("utf-8")
    assert "data:image" not in page
    assert not (tmp_path / "started").exists()


def test_a_sound_picture_is_shown(tmp_path: Path) -> None:
    shutil.copytree(DATA, tmp_path / "run")
    assert "data:image/png" in write_report(tmp_path / "run").read_text("utf-8")
