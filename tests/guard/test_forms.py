"""Images come back in the form in which they were given; what cannot be compared never passes silently."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from memcore.errors import ArgumentTypeError, ArgumentValueError, RunError, StoreError
from memcore.guard import OutputFilter, Verdict
from memcore.index import Index, Resize, build_index, open_source
from tests.support.index_sets import make_index, pictures, png, write_meta, write_tar

Images = NDArray[np.uint8]
TRAINING = pictures(40)
NEW = pictures(4, seed=9)
#: Two copies among four images.
MIXED = np.stack([NEW[0], TRAINING[3], NEW[1], TRAINING[39]])
COPIES = [False, True, False, True]


@pytest.fixture
def guard(tmp_path: Path) -> OutputFilter:
    return OutputFilter(make_index(tmp_path, TRAINING), 0.05)


def forms(images: Images) -> dict[str, Any]:
    torch = pytest.importorskip("torch")
    floats = images.astype(np.float32) / 255
    return {
        "uint8": images,
        "float": floats,
        "float64": images / 255,
        "tensor": torch.from_numpy(images).permute(0, 3, 1, 2),
        "float tensor": torch.from_numpy(floats).permute(0, 3, 1, 2),
        "pictures": [Image.fromarray(image) for image in images],
        "tuple": tuple(Image.fromarray(image) for image in images),
        "arrays": list(images),
        "mixed": [
            Image.fromarray(images[0]),
            images[1],
            torch.from_numpy(images[2]).permute(2, 0, 1),
            images[3],
        ],
    }


@pytest.mark.parametrize("name", forms(MIXED))
def test_every_form(tmp_path: Path, name: str) -> None:
    index = make_index(tmp_path, TRAINING)
    given = forms(MIXED)[name]
    guard = OutputFilter(index, 0.05)
    assert [decision.withheld for decision in guard.check(given)] == COPIES
    refused = guard(given)
    assert type(refused) is (tuple if name == "tuple" else list)
    assert [image is None for image in refused] == COPIES
    assert (np.asarray(refused[0]) == np.asarray(given[0])).all()
    black = OutputFilter(index, 0.05, policy="replace")(given)
    assert type(black) is type(given)
    assert [not np.asarray(image).any() for image in black] == COPIES
    assert all(
        np.asarray(a).shape == np.asarray(b).shape and np.asarray(a).dtype == np.asarray(b).dtype
        for a, b in zip(black, given, strict=True)
    )
    assert OutputFilter(index, 0.05, policy="flag")(given) is given
    assert [
        decision.withheld for decision in guard.check(forms(MIXED)[name])
    ] == COPIES  # nothing was written into


def test_one_image(guard: OutputFilter) -> None:
    for of in (lambda x: x, Image.fromarray, lambda x: x / 255):
        assert guard(of(TRAINING[5])) is None
        new = of(NEW[0])
        assert guard(new) is new


def test_what_cannot_be_compared_is_withheld_and_counted(
    guard: OutputFilter, caplog: pytest.LogCaptureFixture
) -> None:
    broken = NEW / np.float32(255)
    broken[1, 3, 3, 0] = np.nan
    broken[2, 0, 0, 1] = np.inf
    cut = Image.open(io.BytesIO(png(NEW[0])[:-60]))
    alpha = Image.fromarray(np.concatenate([NEW[0], np.full((12, 12, 1), 9, np.uint8)], 2), "RGBA")
    with caplog.at_level(logging.WARNING, "memcore"):
        assert [image is None for image in guard(broken)] == [False, True, True, False]
        odd = [
            None,
            cut,
            alpha,
            Image.fromarray(pictures(1, 13)[0]),
            NEW[0][:11],
            Image.fromarray(NEW[0]).convert("CMYK"),
        ]
        decisions = guard.check(odd)
    assert [(d.verdict, d.reason) for d in decisions] == [
        (Verdict.UNCOMPARED, reason)
        for reason in ("broken", "broken", "alpha", "wrong-size", "wrong-size", "colour")
    ]
    counts = guard.counts
    assert (counts.checked, counts.passed, counts.uncompared, counts.copies) == (10, 2, 8, 0)
    assert counts.reasons == {"alpha": 1, "broken": 4, "colour": 1, "wrong-size": 2}
    assert counts.calls == 2
    assert counts.seconds > 0
    assert sum("withholds" in record.message for record in caplog.records) == 4  # each reason is told once


def test_opaque_alpha_and_grey_pictures_are_compared(tmp_path: Path) -> None:
    grey = np.repeat(pictures(3)[..., :1], 3, axis=3)
    guard = OutputFilter(make_index(tmp_path, grey), 0.05)
    opaque = np.concatenate([grey[0], np.full((12, 12, 1), 255, np.uint8)], 2)
    copies = [Image.fromarray(grey[1, ..., 0]), Image.fromarray(opaque, "RGBA"), opaque]
    assert [decision.row for decision in guard.check(copies)] == [1, 0, 0]


def test_other_sizes_are_resized_as_the_index_was(tmp_path: Path) -> None:
    large = pictures(20, side=24)
    (tmp_path / "train").mkdir()
    for i, image in enumerate(large):
        Image.fromarray(image).save(tmp_path / "train" / f"{i:02d}.png")
    rule = Resize(12, 12, "box", "crop")
    build_index(tmp_path / "index", open_source(tmp_path / "train"), resize=rule)
    guard = OutputFilter(tmp_path / "index", 0.0)
    wide = np.concatenate([pictures(1, 24, 3)[0][:, :4], large[7], pictures(1, 24, 4)[0][:, :4]], 1)
    found = guard.check([large[3], Image.fromarray(large[4]), rule.apply(large[5]), wide])
    assert [decision.name for decision in found] == ["03.png", "04.png", "05.png", "07.png"]


@dataclasses.dataclass
class Output:
    images: Any
    nsfw_content_detected: Any = None


def test_a_pipeline_is_wrapped(guard: OutputFilter) -> None:
    def pipeline(prompt: str, return_dict: bool = True) -> Any:
        images = [Image.fromarray(image) for image in MIXED]
        return Output(images, [False] * 4) if return_dict else (images, prompt)

    safe = guard.wrap(pipeline)
    answer = safe("a dog")
    assert [image is None for image in answer.images] == COPIES
    assert [decision.withheld for decision in answer.decisions] == COPIES
    assert answer.nsfw_content_detected == [False] * 4
    images, prompt = safe("a dog", return_dict=False)
    assert [image is None for image in images] == COPIES
    assert prompt == "a dog"
    with pytest.raises(ArgumentTypeError, match="pipeline must be callable, got int"):
        guard.wrap(3)  # type: ignore[arg-type]


def test_a_diffusers_output() -> None:
    pipelines = pytest.importorskip("diffusers.pipelines.stable_diffusion")
    from memcore.guard.output_filter import _with_images

    output = pipelines.StableDiffusionPipelineOutput(images=[1, 2], nsfw_content_detected=[False, True])
    new = _with_images(output, [None, 2], [])
    assert new.images == new["images"] == [None, 2]
    assert new.nsfw_content_detected == [False, True]
    assert new.decisions == []
    assert output.images == [1, 2]


def test_a_replacement_is_checked_too(tmp_path: Path) -> None:
    index = make_index(tmp_path, TRAINING)
    asked = []

    def again(image: Images, decision: Any) -> Images:
        asked.append(decision.row)
        return NEW[3] if decision.row == 3 else TRAINING[0]  # the second is a copy itself

    guard = OutputFilter(index, 0.05, policy="replace", replacement=again)
    kept = guard(MIXED)
    assert asked == [3, 39]
    assert (kept[1] == NEW[3]).all()
    assert not kept[3].any()
    assert (guard.counts.checked, guard.counts.copies) == (6, 3)
    wrong = OutputFilter(index, 0.05, policy="replace", replacement=lambda image, decision: image[:3])
    with pytest.raises(
        ArgumentValueError, match="replacement must return an image of the same kind and size"
    ):
        wrong(MIXED)


def test_the_log_has_the_decisions_and_no_image(tmp_path: Path) -> None:
    guard = OutputFilter(make_index(tmp_path, TRAINING), 0.05, log=tmp_path / "log.jsonl")
    guard(MIXED)
    guard([None, NEW[0]])
    first, second = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    assert first["verdicts"] == {"copy": 2, "passed": 2}
    assert [(w["image"], w["row"], w["name"], w["distance"]) for w in first["withheld"]] == [
        (1, 3, "3", 0.0),
        (3, 39, "39", 0.0),
    ]
    assert second["withheld"] == [
        {
            "image": 0,
            "verdict": "uncompared",
            "reason": "broken",
            "detail": "None, where an image is expected",
        }
    ]
    with pytest.raises(StoreError, match="cannot be written"):
        OutputFilter(Index.open(tmp_path / "index"), 0.05, log=tmp_path / "no" / "log.jsonl")


def test_threads_share_a_filter(tmp_path: Path) -> None:
    guard = OutputFilter(make_index(tmp_path, TRAINING), 0.05, threads=1, log=tmp_path / "log.jsonl")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(guard, [MIXED] * 200))
    assert all([image is None for image in answer] == COPIES for answer in answers)
    assert (guard.counts.checked, guard.counts.copies, guard.counts.calls) == (800, 400, 200)
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 200


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (3, ArgumentTypeError, "images must be an array .*got int"),
        (["x"], ArgumentTypeError, r"images\[0\] must be an array"),
        (NEW[0][0], ArgumentTypeError, "got ndarray"),
        (NEW / 127.5 - 1, ArgumentValueError, r"pipeline that answers in \[-1, 1\]"),
        (NEW.astype(np.int32), ArgumentTypeError, "got int32"),
    ],
)
def test_what_is_no_image(guard: OutputFilter, given: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        guard(given)
    assert guard.counts.passed == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"delta": 2}, "delta must be a number in"),
        ({"policy": "blank"}, "policy must be 'refuse', 'replace' or 'flag', got 'blank'"),
        ({"replacement": abs}, "replacement needs policy='replace'"),
        ({"metric": "l1"}, "metric must be"),
        ({"metric": "tiled_l2", "grid": (5, 5)}, "does not divide"),
    ],
)
def test_wrong_arguments(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ArgumentValueError, match=said):
        OutputFilter(make_index(tmp_path, TRAINING), **{"delta": 0.05, **options})


def test_an_unfinished_or_incomplete_index_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for i, image in enumerate(TRAINING[:9]):
        Image.fromarray(image).save(tmp_path / "train" / f"{i}.png")
    (tmp_path / "train" / "broken.png").write_bytes(png(NEW[0])[:50])
    build_index(tmp_path / "index", open_source(tmp_path / "train"))
    with pytest.raises(
        RunError, match="incomplete, so that copies of some training images would pass: 1 of 10"
    ):
        OutputFilter(tmp_path / "index", 0.05)
    guard = OutputFilter(tmp_path / "index", 0.05, allow_incomplete=True)
    assert guard(TRAINING[4]) is None
    meta = json.loads((tmp_path / "index" / "index.json").read_text())
    del meta["seal"]
    for name in ("shards", "images", "quarantined", "coverage", "made"):  # what is written at the end
        meta["sources"][0].pop(name, None)
    write_meta(tmp_path / "index", meta)
    with pytest.raises(RunError, match="was changed since this filter opened it"):
        guard(NEW)
    with pytest.raises(RunError, match="is not finished"):
        OutputFilter(tmp_path / "index", 0.05)


def test_an_index_that_grew_is_not_used_as_it_was(tmp_path: Path) -> None:
    write_tar(tmp_path / "train" / "a.tar", TRAINING[:20])
    build_index(tmp_path / "index", open_source(tmp_path / "train"))
    early = Index.open(tmp_path / "index")
    assert early.added_files() == []
    guard = OutputFilter(early, 0.05)
    write_tar(tmp_path / "train" / "b.tar", TRAINING[20:], 20)
    with pytest.raises(RunError, match=r"files of its sources were not indexed: 1, for example .*b\.tar"):
        OutputFilter(tmp_path / "index", 0.05)
    build_index(tmp_path / "index", open_source(tmp_path / "train"))
    with pytest.raises(RunError, match="was changed since this filter opened it"):
        guard(TRAINING[30])
    with pytest.raises(RunError, match="was changed since it was opened"):
        OutputFilter(early, 0.05)
    assert OutputFilter(tmp_path / "index", 0.05)(TRAINING[30]) is None


def test_a_training_image_that_changed_leaves_copies_undecided(tmp_path: Path) -> None:
    index = make_index(tmp_path, TRAINING)
    guard = OutputFilter(index, 0.05)
    with (tmp_path / "train.npy").open("r+b") as file:
        file.seek(-TRAINING[0].nbytes, 2)
        file.write(NEW[0].tobytes())
    decisions = guard.check(MIXED)
    assert [decision.verdict for decision in decisions] == [
        Verdict.PASSED,
        Verdict.COPY,
        Verdict.PASSED,
        Verdict.UNDECIDED,
    ]
    assert decisions[3].reason == "unread"
    assert "training image 39" in decisions[3].detail
    assert guard(TRAINING[39]) is None
    assert guard.counts.undecided == 2
    with pytest.raises(RunError, match="has changed since"):
        OutputFilter(tmp_path / "index", 0.05)


def test_the_fingerprint_names_what_decides(tmp_path: Path) -> None:
    index = make_index(tmp_path, TRAINING)
    guards = [
        OutputFilter(index, 0.05),
        OutputFilter(index, 0.06),
        OutputFilter(index, 0.05, metric="tiled_l2"),
        OutputFilter(index, 0.05, policy="replace"),
    ]
    assert len({guard.fingerprint for guard in guards}) == len(guards)
    assert OutputFilter(tmp_path / "index", 0.05, threads=1).fingerprint == guards[0].fingerprint
    assert "delta=0.05" in repr(guards[0])
