"""Stored generations whose prompts stand in metadata.jsonl or metadata.csv."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from memcore.errors import ConfigError
from memcore.sources.by_prompt import StoredPrompts
from memcore.sources.coverage import count_reasons
from tests.support.stored_sets import encoded, read_all

RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 256, (16, 16, 3), dtype=np.uint8) for _ in range(4)]


def write(root: Path, files: dict[str, str | bytes], images: tuple[str, ...]) -> Path:
    for name, image in zip(images, IMAGES, strict=False):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded(image))
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return root


def rows(**captions: str) -> str:
    return "".join(
        json.dumps({"file_name": f"{name}.png", "prompt": said}) + "\n" for name, said in captions.items()
    )


def prompts(stored: StoredPrompts) -> dict[str, list[int]]:
    """Return the positions in IMAGES of each prompt's images."""
    found = {}
    for number, prompt in enumerate(stored.prompts):
        pixels = read_all(stored, number)[0]
        found[prompt] = [
            next(i for i, image in enumerate(IMAGES) if np.array_equal(image, p)) for p in pixels
        ]
    return found


@pytest.mark.parametrize(
    ("files", "images", "expected"),
    [
        pytest.param(
            {"metadata.jsonl": rows(a="a fox", b="a hill", c="a fox")},
            ("a.png", "b.png", "c.png"),
            {"a fox": [0, 2], "a hill": [1]},
            id="beside the images",
        ),
        pytest.param(
            {"metadata.csv": "file_name,caption\ntrain/a.png,a fox\ntrain/b.png,a hill\n"},
            ("train/a.png", "train/b.png"),
            {"a fox": [0], "a hill": [1]},
            id="csv above them",
        ),
        pytest.param(
            {"one/metadata.jsonl": rows(a="a fox"), "two/metadata.jsonl": rows(a="a fox")},
            ("one/a.png", "two/a.png"),
            {"a fox": [0, 1]},
            id="in each folder",
        ),
        pytest.param(
            {"train/metadata.jsonl": rows(a="a fox")},
            ("train/a.png", "train/b.png"),
            {"a fox": [0], "train": [1]},
            id="an image without a row",
        ),
    ],
)
def test_metadata_names_the_prompts(
    files: dict[str, str | bytes], images: tuple[str, ...], expected: dict[str, list[int]], tmp_path: Path
) -> None:
    stored = StoredPrompts(write(tmp_path / "set", files, images))
    assert prompts(stored) == expected
    assert stored.pointed_at() == len(images) + len(files)
    assert stored.texts == len(files)
    assert stored.left_out == []


@pytest.mark.parametrize(
    ("data", "reason", "detail"),
    [
        (b"{", "caption", "JSON"),
        (b"\xff\xfe", "caption", "UTF-8"),
        (b'{"file_name": "a.png", "prompt": 7}\n', "caption", "a number"),
        (b'{"prompt": "a fox"}\n', "text", "no image that is here"),
        (b'{"file_name": "other.png", "prompt": "a fox"}\n', "text", "no image that is here"),
        (b'{"file_name": "a.png", "seed": 7}\n', "text", "no image that is here"),
    ],
)
def test_metadata_that_names_none_is_left_out_with_its_reason(
    data: bytes, reason: str, detail: str, tmp_path: Path
) -> None:
    stored = StoredPrompts(write(tmp_path / "set", {"metadata.jsonl": data}, ("a.png", "b.png")))
    assert prompts(stored) == {"set": [0, 1]}
    assert count_reasons(stored.left_out) == {reason: 1}
    assert detail in stored.left_out[0]["detail"]


def test_two_lists_of_prompts_are_refused(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"metadata.jsonl": rows(a="a fox"), "prompts.txt": "a hill\n"}
    root = write(tmp_path / "set", files, ("a.png",))
    with pytest.raises(
        ConfigError, match=r"prompts.txt and metadata.jsonl, which both name the prompts: keep one"
    ):
        StoredPrompts(root)


def test_other_metadata_is_another_set(tmp_path: Path) -> None:
    """The prompts are the same, and so are all images: which image is whose is not."""
    one = write(tmp_path / "one", {"metadata.jsonl": rows(a="x", b="y", c="x")}, ("a.png", "b.png", "c.png"))
    two = write(tmp_path / "two", {"metadata.jsonl": rows(a="x", b="y", c="y")}, ("a.png", "b.png", "c.png"))
    first, second = StoredPrompts(one), StoredPrompts(two)
    assert first.prompts == second.prompts
    assert first.fingerprint != second.fingerprint
