"""The examples run as they stand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: object) -> str:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_custom_sampler(tmp_path: Path) -> None:
    said = run("custom_sampler.py", tmp_path)
    assert "a lighthouse: clique of" in said
    assert "extracted" in said
    assert "a bicycle" not in said
    assert (tmp_path / "run" / "report" / "index.html").exists()


def test_near_duplicates(tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for name, base in (("a", 0), ("b", 0), ("c", 1)):
        pixels = np.random.default_rng(base).integers(0, 250, (16, 16, 3)) + rng.integers(0, 5, (16, 16, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{name}.png")
    said = run("near_duplicates.py", tmp_path, 0.1)
    assert "3 images, 0 unreadable, 1 pairs within 0.1" in said
    assert "a.png  b.png" in said
