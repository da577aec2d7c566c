"""No all-clear where something was not decided: one module says what, and every command and the report carry it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memcore.audit import audit
from memcore.cli import main
from memcore.matching.match_run import match_run
from memcore.runs.completeness import judge, training_gaps
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder
from memcore.runs.pictures import png_bytes
from memcore.runs.start import RunStart
from tests.support.report_page import render_page
from tests.support.report_runs import RunWriter, finding_row
from tests.support.synthetic import PROMPTS, SHAPE, SyntheticSampler, training_image

DONE, INCOMPLETE = 0, 5
SEEN = [p for p in PROMPTS if p != "nothing but black"]


def codes(folder: RunFolder) -> dict[str, tuple[int, int]]:
    return {gap.code: (gap.count, gap.of) for gap in judge(folder.storage, folder.meta).gaps}


def run(path: Path, prompts: list[str] = SEEN, fail: str = "", **options: Any) -> RunFolder:
    config = Config(source="custom", **{"generations": 30, "batch_size": 16, **options})
    return audit(path, config, sampler=SyntheticSampler(fail=fail), prompts=prompts, quiet=True)


def write_images(folder: Path, *images: np.ndarray[Any, np.dtype[np.uint8]]) -> Path:
    folder.mkdir()
    for i, pixels in enumerate(images):
        (folder / f"{i}.png").write_bytes(png_bytes(pixels))
    return folder


def taller(image: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.concatenate([image, image[-1:]])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("whole") / "run").path


def told(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    code = main(words)
    return code, capsys.readouterr().out


def test_a_whole_run_is_complete(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert codes(RunFolder.open(whole)) == {}
    code, out = told(["status", str(whole)], capsys)
    assert (code, "not decided" in out) == (DONE, False)
    assert told(["report", str(whole)], capsys)[0] == DONE
    assert "2 of 6 prompts repeat one picture again and again" in render_page(whole).text()


def test_failed_prompts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run(tmp_path / "run", ["rain", "a door", "a green hill"], fail="a door")
    assert codes(folder) == {"failed": (1, 3)}
    for words in (["status"], ["report"]):
        code, out = told([*words, str(folder.path)], capsys)
        assert code == INCOMPLETE
        assert "not decided: 1 of 3 prompts failed" in out
        assert told([*words, str(folder.path), "--allow-incomplete"], capsys)[0] == DONE
    text = render_page(folder.path).text()
    assert "None of" not in text
    assert "Not decided: 1 of 3 prompts failed" in text
    assert "For each of the 2 prompts that were sampled, 30 images were made" in text
    assert "For none of the 2 prompts that were decided, at least 10" in text
    assert "prompts 3 1 failed" in text


def test_fewer_generations_than_a_clique(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of 5 images no clique of 10 can be found: N-W2."""
    stored = tmp_path / "few.npy"
    np.save(stored, np.stack([np.stack([training_image(p)] * 5) for p in PROMPTS[:3]]))
    flags = ["--images", str(stored), "--workers", "1", "--quiet"]
    code, out = told(["filter", str(tmp_path / "run"), *flags], capsys)
    assert code == INCOMPLETE
    assert "not decided: 3 prompts had fewer than 10 usable generations" in out
    assert told(["filter", str(tmp_path / "run"), "--allow-incomplete", *flags], capsys)[0] == DONE
    text = render_page(tmp_path / "run").text()
    assert "None of" not in text
    assert "3 prompts had fewer than 10 usable generations" in text
    assert "In all, 15 images of 3 prompts were read" in text
    assert "generations 15 read" in text
    assert "500" not in text.partition("Configuration")[0]
    code, out = told(["filter", str(tmp_path / "run"), "--json", *flags], capsys)
    (gap,) = json.loads(out)["not_decided"]
    assert (gap["code"], gap["count"], gap["of"]) == ("few", 3, 3)


def test_few_generations_but_a_smaller_clique(tmp_path: Path) -> None:
    assert codes(run(tmp_path / "run", generations=5, min_clique=4)) == {}


def test_black_images_are_no_usable_generations(tmp_path: Path) -> None:
    assert codes(run(tmp_path / "run", ["rain", "nothing but black"])) == {"few": (1, 2)}


def test_fewer_generations_than_the_budget(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path)
    writer.rows = [finding_row(0, "zero", []), finding_row(1, "one", [], generated=40)]
    writer.write(matched=False)
    text = render_page(tmp_path).text()
    assert "Not decided: 1 prompt had fewer than the 64 generations of the budget" in text
    assert "1 with too few images" in text


def test_a_search_that_reached_its_limit(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path)
    writer.rows = [finding_row(0, "zero", []), finding_row(1, "one", [], proven=False, upper=12)]
    writer.write(matched=False)
    text = render_page(tmp_path).text()
    assert "Not decided: the search for a clique reached its limit for 1 prompt" in text


def test_the_limit_of_a_search_is_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With no nodes to spend nothing is found, and nothing is proven: that was recorded as proven."""
    np.save(tmp_path / "hard.npy", hard_images()[None])
    flags = ["--images", str(tmp_path / "hard.npy"), "--min-clique", "7", "--workers", "1", "--quiet"]
    code, out = told(["filter", str(tmp_path / "run"), "--node-limit", "1", *flags], capsys)
    assert code == INCOMPLETE
    assert "not decided: the search for a clique reached its limit for 1 prompt" in out
    (row,) = RunFolder.open(tmp_path / "run").findings()
    assert (row["status"], row["proven"], row["upper"]) == ("none", False, 8)
    assert told(["filter", str(tmp_path / "enough"), *flags], capsys)[0] == DONE
    (row,) = RunFolder.open(tmp_path / "enough").findings()
    assert (row["status"], row["proven"], row["upper"]) == ("none", True, 6)


def hard_images() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return 60 images whose largest clique has 6, which bounds alone do not prove.

    In each of 16 tiles 14 images are darker and 14 lighter: no edge leads from the ones to the others.
    """
    rng, count = np.random.default_rng(1), 60
    values = np.full((count, 4, 4), 128, np.uint8)
    for tile in range(16):
        order = rng.permutation(count)
        values[order[:14], tile // 4, tile % 4] = 100
        values[order[14:28], tile // 4, tile % 4] = 156
    images = values.repeat(4, axis=1).repeat(4, axis=2)[..., None].repeat(3, axis=3)
    images[:, 0, 0, 0] ^= np.arange(count, dtype=np.uint8) % 2 + 1  # none of one colour
    return images


def test_generations_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for prompt in ("a", "b"):
        folder = tmp_path / "images" / prompt
        folder.parent.mkdir(exist_ok=True)
        write_images(folder, *rng.integers(0, 256, (12, *SHAPE), dtype=np.uint8))
    (tmp_path / "images" / "a" / "0.png").write_bytes(b"\x89PNG damaged")
    flags = ["--images", str(tmp_path / "images"), "--workers", "1", "--quiet"]
    code, out = told(["filter", str(tmp_path / "run"), *flags], capsys)
    assert code == INCOMPLETE
    assert "not decided: 1 generation of 1 prompt could not be read" in out


def test_training_images_of_another_size(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The four that were memorised have another size: N-W1."""
    others = [taller(training_image(p)) for p in SEEN[:4]]
    training = write_images(tmp_path / "training", training_image("another"), *others)
    shutil.copytree(whole, tmp_path / "run")
    said = "4 of 5 training images were not compared: other size"
    index = tmp_path / "index"
    main(["index", str(index), "--source", str(training), "--quiet"])
    for against in (["--training", str(training)], ["--index", str(index)]):
        words = ["match", str(tmp_path / "run"), *against]
        code, out = told(words, capsys)
        assert code == INCOMPLETE
        assert "0 of 2 findings are copies of a training image (l2 at most 0.15, 1 training image" in out
        assert f"not decided: {said}" in out
        assert told([*words, "--allow-incomplete"], capsys)[0] == DONE
        for command in ("status", "report"):
            code, out = told([command, str(tmp_path / "run")], capsys)
            assert (code, said in out) == (INCOMPLETE, True)
        text = render_page(tmp_path / "run").text()
        assert "None of" not in text
        assert f"Not decided: {said}" in text
        assert "of one of the 1 training image that was compared" in text
        assert "extracted 0 l2 to a training image ≤ 0.15, 4 training images not compared" in text
        assert said in render_page(tmp_path / "run").text("excluded")


def test_a_training_set_that_was_compared_whole(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sentence that releases a model is said here, and only here."""
    training = write_images(tmp_path / "training", training_image("another"), training_image("a third"))
    shutil.copytree(whole, tmp_path / "run")
    assert told(["match", str(tmp_path / "run"), "--training", str(training)], capsys)[0] == DONE
    assert "None of 6 prompts reproduces a training image" in render_page(tmp_path / "run").text()


def test_what_is_no_image_is_not_missing() -> None:
    assert training_gaps({"count": 3, "unreadable": [{"source": "x", "reason": "no-image"}]}) == []
    assert training_gaps({"count": 3, "unreadable": 0, "coverage": {"left_out": {"other": 4}}}) == []
    (gap,) = training_gaps({"count": 3, "unreadable": 9, "coverage": {"left_out": {"alpha": 1, "depth": 2}}})
    assert gap.text == (
        "3 of 6 training images were not compared: 1 transparent, 2 more than 8 bits a channel"
    )


def test_extractions_are_a_lower_bound(tmp_path: Path) -> None:
    folder = run(tmp_path / "run", ["a red fox", "a door"], fail="a door")
    match_run(folder.path, write_images(tmp_path / "training", training_image("a red fox")))
    text = render_page(folder.path).text()
    assert "At least 1 of 2 prompts reproduces training images. Not decided: 1 of 2 prompts failed" in text


def test_a_screen_and_a_budget_state_their_miss_rates(tmp_path: Path) -> None:
    """They save sampling by design: that is no gap, and the headline says at which miss rate."""
    sequential = run(
        tmp_path / "a", ["rain"], budget="sequential", copy_rate=0.5, miss_rate=0.02, generations=60
    )
    assert codes(sequential) == {}
    assert (
        "None of 1 prompt repeats a picture, at a stated miss rate of 2.0 %"
        in render_page(sequential.path).text()
    )
    writer = RunWriter(tmp_path / "b")
    out = {"status": "screened", "stop": "screened", "generated": 0}
    writer.rows = [finding_row(0, "zero", []), finding_row(1, "one", [], **out)]
    writer.write(matched=False)
    text = render_page(tmp_path / "b").text()
    assert "None of 1 sampled prompt repeats a picture; 1 was screened out, at no stated miss rate" in text
    assert "prompts 2 1 screened out" in text
    assert "all sampled" not in text


def test_a_part_of_a_run_leaves_it_to_the_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = tmp_path / "few.npy"
    np.save(stored, np.stack([np.stack([training_image(p)] * 5) for p in PROMPTS[:4]]))
    words = ["filter", str(tmp_path / "run"), "--images", str(stored), "--workers", "1", "--quiet"]
    for part in ("1/2", "2/2"):
        assert told([*words, "--part", part], capsys)[0] == DONE
    assert told(words, capsys)[0] == INCOMPLETE


def test_a_given_up_shard(tmp_path: Path) -> None:
    from memcore.audit.shard import give_up_shard

    config = Config(source="custom", generations=30, shard_prompts=1)
    folder = RunStart(tmp_path / "run", config, ["one", "two"]).create("f", {"kind": "x"})
    give_up_shard(folder, folder.shards()[0], "error", "Traceback")
    assert codes(folder) == {"unfinished": (1, 2), "failed": (1, 2), "shards": (1, 1)}
