"""The pictures of the documentation: as their script draws them, complete in themselves, each shown once."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
PICTURES = sorted((DOCS / "pictures").glob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"


def test_the_script_draws_them(tmp_path: Path) -> None:
    subprocess.run([sys.executable, DOCS / "pictures" / "draw.py", tmp_path], check=True)
    drawn = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert drawn == {path.name: path.read_bytes() for path in PICTURES}, "run python docs/pictures/draw.py"


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_a_picture_stands_alone(path: Path) -> None:
    text = path.read_text("utf-8")
    root = ElementTree.fromstring(text)
    assert root.findtext(f"{SVG}title")
    assert root.findtext(f"{SVG}desc")
    outside = text.replace("http://www.w3.org/2000/svg", "")
    assert not any(word in outside for word in ("http", "href", "@import", "<image", "<script"))
    page = DOCS / ("architecture.md" if path.stem == "house" else "kernels.md")
    assert page.read_text("utf-8").count(f"](pictures/{path.name})") == 1
