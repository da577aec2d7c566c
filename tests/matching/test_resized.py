"""``--resize`` of ``filter`` and ``match --training``: the pixels of ``index``, recorded, and named where sizes differ."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from memcore.audit import audit
from memcore.cli import main
from memcore.errors import ConfigError
from memcore.images.resize import Resize
from memcore.matching.match_run import match_run
from memcore.runs.config import Config
from memcore.runs.config_file import from_mapping
from memcore.runs.folder import RunFolder
from memcore.runs.pictures import png_bytes
from memcore.sources import buffers
from memcore.sources.by_prompt import StoredPrompts
from tests.support.report_page import render_page
from tests.support.stored_sets import Pixels, read_all
from tests.support.synthetic import MEMORISED, SHAPE, SyntheticSampler, training_image

SEEN = [*MEMORISED, "rain"]
BOX = ["--resize", "16x16", "--resize-method", "box", "--resize-fit", "stretch"]


def doubled(image: Pixels) -> Pixels:
    """Return the image at twice the size, which "box" brings back as it was."""
    return image.repeat(2, axis=0).repeat(2, axis=1)


def write(folder: Path, images: list[Pixels]) -> Path:
    folder.mkdir(parents=True)
    for i, pixels in enumerate(images):
        (folder / f"{i:02d}.png").write_bytes(png_bytes(pixels))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = Config(source="custom", generations=30, batch_size=16)
    folder = tmp_path_factory.mktemp("resized") / "run"
    return audit(folder, config, sampler=SyntheticSampler(), prompts=SEEN, quiet=True).path


def test_a_match_resizes_as_an_index_does(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The memorised images have another size: without a resize they are not compared (N-W1)."""
    own = shutil.copytree(run, tmp_path / "run")
    others = [doubled(training_image(prompt)) for prompt in MEMORISED]
    training = write(tmp_path / "train", [training_image("another"), *others])
    assert main(["match", str(own), "--training", str(training)]) == 5
    said = capsys.readouterr().out
    assert (
        "0 of 2 findings are copies of a training image (l2 at most 0.15, 1 training image compared)" in said
    )
    hint = (
        "2 of 3 training images were not compared: other size than 16x16 (--resize 16x16 compares them too)"
    )
    assert hint in said
    assert hint in render_page(own).text()

    assert main(["match", str(own), "--training", str(training), *BOX]) == 0
    said = capsys.readouterr().out
    assert "2 of 2 findings are copies" in said
    assert "training images resized to 16x16 (box, stretch)" in said
    about = json.loads((own / "match.json").read_text())
    assert about["resize"] == {"height": 16, "width": 16, "method": "box", "fit": "stretch"}
    assert (about["image_shape"], about["count"]) == ([16, 16, 3], 3)
    rows = pq.read_table(own / "matches.parquet").to_pylist()
    assert [row["tiled_l2"] < 0.05 for row in rows] == [True, True]
    page = render_page(own)
    assert "Training images of other sizes were resized to 16x16 (box, stretch)." in page.text("coverage")
    assert "match.resize.method box" in page.text("settings")

    index = str(tmp_path / "index")
    assert main(["index", index, "--source", str(training), *BOX, "--quiet"]) == 0
    assert main(["match", str(own), "--index", index, "--source", str(training)]) == 0
    found = pq.read_table(own / "matches.parquet").to_pylist()
    for row in (*rows, *found):
        del row["training_name"], row["neighbors"], row["closest_name"]
    assert found == rows


def test_the_first_image_does_not_decide_the_size(run: Path, tmp_path: Path) -> None:
    """What was compared hung on the order of the files."""
    first, *rest = MEMORISED
    for name, images in (
        ("first", [doubled(training_image(first)), *map(training_image, rest)]),
        ("last", [*map(training_image, rest), doubled(training_image(first))]),
    ):
        own = shutil.copytree(run, tmp_path / name / "run")
        rows = match_run(own, write(tmp_path / name / "train", images))
        assert sum(row["extracted"] for row in rows) == len(rest)


def test_transparent_training_images_take_a_background(run: Path, tmp_path: Path) -> None:
    from PIL import Image

    own, training = shutil.copytree(run, tmp_path / "run"), tmp_path / "train"
    training.mkdir()
    for i, prompt in enumerate(MEMORISED):
        pixels = np.dstack([training_image(prompt), np.full(SHAPE[:2], 255, np.uint8)])
        pixels[0, 0, 3] = 0
        Image.fromarray(pixels).save(training / f"{i}.png")
    with pytest.raises(ConfigError, match="declare a background"):
        match_run(own, training)
    for colour in ("255,255,255", "#ffffff"):
        assert main(["match", str(own), "--training", str(training), "--background", colour]) == 0
        assert json.loads((own / "match.json").read_text())["background"] == [255, 255, 255]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--resize", "8x8"], "resize must be the generations' size 16x16, got 8x8"),
        (["--resize", "8"], "resize must look like 512x512"),
        (["--background", "white"], "background must look like #ffffff or 255,255,255"),
    ],
)
def test_wrong_sizes_and_colours(
    run: Path, tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    training = write(tmp_path / "train", [training_image("x")])
    before = sorted(run.rglob("*"))
    assert main(["match", str(run), "--training", str(training), *words]) == 2
    assert message in capsys.readouterr().err
    assert sorted(run.rglob("*")) == before


def test_an_index_has_its_own_resize(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="memcore index takes it"):
        match_run(run, index=tmp_path, resize=Resize(16, 16))


def generations(prompt: str, count: int = 14) -> list[Pixels]:
    made = [training_image(prompt).copy() for _ in range(count)]
    for i, image in enumerate(made):
        image[0, 0, 0] = i
    return made


def test_a_filter_resizes_and_names_the_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In folders, and in arrays, of which a whole prompt may have another size."""
    whole, small = generations("a"), generations("b")
    write(tmp_path / "images" / "a", [*whole[:7], *(doubled(i) for i in whole[7:])])
    write(tmp_path / "images" / "b", small)
    np.save(tmp_path / "images" / "c.npy", np.stack([doubled(image) for image in whole]))
    flags = ["--images", str(tmp_path / "images"), "--workers", "1", "--quiet"]
    assert main(["filter", str(tmp_path / "without"), *flags]) == 5
    said = capsys.readouterr().out
    hint = (
        "21 generations of 2 prompts were left out: other size than 16x16 (--resize 16x16 compares them too)"
    )
    assert hint in said
    assert "1 of 3 prompts failed" in said
    page = render_page(tmp_path / "without")
    assert hint in page.text()
    assert "Generations 42 21 compared 21 : other size than 16x16 none" in page.text("coverage")

    assert main(["filter", str(tmp_path / "with"), *flags, *BOX]) == 0
    assert "pointed at 42: used 42, left out 0" in capsys.readouterr().out
    folder = RunFolder.open(tmp_path / "with")
    assert [(row["size"], row["mean_distance"]) for row in folder.findings()][::2] == [
        (14, folder.findings()[2]["mean_distance"])
    ] * 2
    assert "Generations of other sizes were resized to 16x16 (box, stretch)." in render_page(
        tmp_path / "with"
    ).text("coverage")
    assert main(["filter", str(tmp_path / "with"), *flags, *BOX]) == 0  # the same run
    capsys.readouterr()
    assert main(["filter", str(tmp_path / "with"), *flags, "--resize-method", "lanczos"]) == 2
    assert "resize_method: box -> lanczos" in capsys.readouterr().err


def test_a_resize_is_a_part_of_the_digest() -> None:
    made = {
        json.dumps(given, sort_keys=True): from_mapping({"source": "stored", "images": "x", **given}).digest(
            "f", "p"
        )
        for given in (
            {},
            {"resize": "8x8"},
            {"resize": "8x9"},
            {"resize": "8x8", "resize_fit": "stretch"},
            {"resize": "8x8", "resize_method": "box"},
        )
    }
    assert len(set(made.values())) == 5
    named = from_mapping(
        {"source": "stored", "images": "x", "resize": "8x8", "resize_fit": "crop", "resize_method": "lanczos"}
    )
    assert named.digest("f", "p") == made['{"resize": "8x8"}'], "the defaults, whether written or not"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source": "stored", "images": "x", "resize": "8"}, "must look like"),
        ({"source": "stored", "images": "x", "resize_fit": "crop"}, "no resize"),
        ({"source": "custom", "resize": "8x8"}, "for stored images"),
        (
            {"source": "stored", "images": "x", "resize": "8x8", "resize_method": "magic"},
            "resize_method must be",
        ),
    ],
)
def test_settings_that_mean_nothing(values: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(values)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("chunk", [1 << 23, 3000])
def test_arrays_and_files_are_resized_alike(
    threads: int, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether an array is kept or read again, row-major or not."""
    monkeypatch.setattr(buffers, "CHUNK_BYTES", chunk)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 12, 16, 3), dtype=np.uint8)
    images[3] = 7
    write(tmp_path / "set" / "a", list(images))
    np.save(tmp_path / "set" / "b.npy", images)
    np.save(tmp_path / "set" / "c.npy", np.asfortranarray(images))
    stored = StoredPrompts(tmp_path / "set", resize=Resize(8, 8), threads=threads)
    want = np.stack([Resize(8, 8).apply(image) for image in images])
    assert stored.image_shape == (8, 8, 3)
    for prompt in range(3):
        pixels, seeds, constant, broken = read_all(stored, prompt)
        assert np.array_equal(pixels, want)
        assert (len(seeds), constant.index(True), broken) == (20, 3, [])


def test_names_of_a_file_that_mean_nothing_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``generations`` in a file of settings was ignored by ``filter`` without a word (N-W9)."""
    (tmp_path / "t.toml").write_text("generations = 3\nmin_clique = 5\n")
    write(tmp_path / "images" / "a", generations("a", 7))
    words = [
        "filter",
        str(tmp_path / "run"),
        "--images",
        str(tmp_path / "images"),
        "--workers",
        "1",
        "--quiet",
    ]
    assert main([*words, "--config", str(tmp_path / "t.toml")]) == 0
    said = capsys.readouterr()
    assert "generations in" in said.err
    assert "means nothing for stored images, of which all are read" in said.err
    assert "1 of 1 prompt, 7 images" in said.out
    page = render_page(tmp_path / "run")
    assert "generations 7 read" in page.text()
    assert "generations 3" not in page.text("settings"), "nothing follows from it"
