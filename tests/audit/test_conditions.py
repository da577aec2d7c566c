"""Audits of models that make images of labels and of given images: lists, resuming, and what a given image explains."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from memcore.audit import audit
from memcore.audit.conditions import read_prompt_list
from memcore.cli import main
from memcore.errors import ConfigError, DamagedFileError
from memcore.matching.match_run import match_run
from memcore.report import write_report
from memcore.runs.conditions import StoredConditions
from memcore.runs.config import Config
from memcore.runs.derived import read_match
from memcore.runs.folder import RunFolder
from memcore.runs.prompts import read_prompts, scan_prompts
from memcore.sampling import CallableSampler, Condition
from memcore.sources.conditioned import ConditionedPrompts
from tests.support.given_pictures import picture, upper_half

SIDE = 16
SHAPE = (SIDE, SIDE, 3)


def near(image: NDArray[np.uint8], seed: int, levels: int = 6) -> NDArray[np.uint8]:
    """Return an image that differs from another by up to so many levels."""
    noise = np.random.default_rng(seed).integers(-levels, levels + 1, SHAPE)
    return np.clip(image.astype(int) + noise, 0, 255).astype(np.uint8)


def by_label(prompts: list[str], seeds: list[int], given: list[Condition]) -> Any:
    """Make copies of one picture for label 3, and unlike ones for all others."""
    return np.stack(
        [near(picture(99), s) if c.label == 3 else picture(s) for s, c in zip(seeds, given, strict=True)]
    )


def traces(prompts: list[str], seeds: list[int], given: list[Condition]) -> Any:
    """Make what the prompt says: the given image again, a picture of the model's own, or unlike ones."""
    made = {
        "given": lambda s, c: near(c.image, s),
        "own": lambda s, c: near(picture(99), s),
        "none": lambda s, c: picture(s),
    }
    return np.stack([made[p](s, c) for p, s, c in zip(prompts, seeds, given, strict=True)])


def sampler(function: Callable[..., Any], *kinds: str, masks_hide: bool = False) -> Any:
    made: Any = CallableSampler(function, SHAPE, "made-1", conditions=kinds)
    made.masks_hide = masks_hide
    return made


def config(**changed: Any) -> Config:
    return Config(**{"source": "custom", "generations": 12, "batch_size": 5, **changed})


def save(path: Path, pixels: NDArray[np.uint8]) -> str:
    Image.fromarray(pixels).save(path)
    return path.name


def rows(run: RunFolder) -> dict[str, Any]:
    return {row["prompt"]: row for row in run.findings()}


def write_jsonl(path: Path, *entries: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def test_labels_are_prompts_that_are_shown_as_labels(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("label\n1\n3\n\n")
    listed = ConditionedPrompts(tmp_path / "labels.csv", ["label"])
    run = audit(tmp_path / "run", config(), sampler=sampler(by_label, "label"), prompts=listed, quiet=True)
    found = rows(run)
    assert {name: row["status"] for name, row in found.items()} == {"label 1": "none", "label 3": "finding"}
    assert found["label 3"]["size"] == 12
    assert "given_distance" not in found["label 3"]
    assert run.conditions == ("label",)
    assert run.condition(1) == Condition(label=3)
    assert run.meta["prompts"]["conditions"] == ["label"]


def test_what_repeats_the_given_image_is_no_finding(tmp_path: Path) -> None:
    given = Condition(image=picture(5))
    prompts = [(name, given) for name in ("given", "own", "none")]
    run = audit(tmp_path / "run", config(), sampler=sampler(traces, "image"), prompts=prompts, quiet=True)
    found = rows(run)
    assert {name: row["status"] for name, row in found.items()} == {
        "given": "none",
        "own": "finding",
        "none": "none",
    }
    assert [found[name]["given_near"] for name in ("given", "own", "none")] == [12, 0, 0]
    assert found["given"]["excluded"] == 12
    assert found["own"]["given_distance"] > run.config.threshold
    (note,) = run.quarantine()
    assert note["prompt_id"] == 0
    assert note["reason"] == "given-image"
    assert "12 of 12 generations within 0.15 of the image" in note["detail"]
    plain = audit(
        tmp_path / "plain",
        config(),
        sampler=CallableSampler(lambda p, s: traces(p, s, [given] * len(p)), SHAPE, "made-1"),
        prompts=["given", "own", "none"],
        quiet=True,
    )
    assert rows(plain)["given"]["status"] == "finding"  # without the control, the given image looks memorised


def test_what_a_mask_hides_from_the_model_may_be_found(tmp_path: Path) -> None:
    prompts = [("given", Condition(image=picture(5), mask=upper_half()))]
    found = {}
    for name, hides in (("hidden", True), ("seen", False)):
        made = sampler(traces, "image", "mask", masks_hide=hides)
        found[name] = rows(audit(tmp_path / name, config(), sampler=made, prompts=prompts, quiet=True))[
            "given"
        ]
    assert found["hidden"]["status"] == "finding"
    assert found["hidden"]["given_distance"] < 0.15
    assert found["seen"]["status"] == "none"


def test_a_run_is_resumed_with_the_images_that_it_keeps(tmp_path: Path) -> None:
    save(tmp_path / "a.png", picture(5))
    save(tmp_path / "b.png", picture(6))
    entries = [
        {"prompt": p, "image": i} for p, i in (("given", "a.png"), ("own", "b.png"), ("none", "a.png"))
    ]
    path = write_jsonl(tmp_path / "list.jsonl", *entries)
    set_up = config(shard_prompts=1)

    def make(folder: str, prompts: Any, function: Callable[..., Any] = traces) -> RunFolder:
        return audit(
            tmp_path / folder, set_up, sampler=sampler(function, "image"), prompts=prompts, quiet=True
        )

    whole = make("whole", ConditionedPrompts(path, ["image"]))
    assert len(list((tmp_path / "whole" / "conditions").iterdir())) == 2  # each picture once

    def stops(prompts: list[str], seeds: list[int], given: list[Condition]) -> Any:
        if "none" in prompts:
            raise KeyboardInterrupt
        return traces(prompts, seeds, given)

    with pytest.raises(KeyboardInterrupt):
        make("run", ConditionedPrompts(path, ["image"]), stops)
    (tmp_path / "a.png").unlink()  # the run holds what it needs
    run = RunFolder.open(tmp_path / "run")
    assert run.pending()
    resumed = audit(run, run.config, sampler=sampler(traces, "image"), prompts=run.prompts, quiet=True)
    assert resumed.findings_digest() == whole.findings_digest()


def test_generations_near_the_given_image_stay_so_when_they_come_from_the_journal(tmp_path: Path) -> None:
    prompts = [("given", Condition(image=picture(5)))]
    calls = 0

    def stops(texts: list[str], seeds: list[int], given: list[Condition]) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:  # the check for repeatability is one
            raise KeyboardInterrupt
        time.sleep(0.1)  # images that take no time are not kept
        return traces(texts, seeds, given)

    with pytest.raises(KeyboardInterrupt):
        audit(tmp_path / "run", config(), sampler=sampler(stops, "image"), prompts=prompts, quiet=True)
    assert list((tmp_path / "run" / "partial").glob("*.journal"))
    made: list[int] = []

    def counts(texts: list[str], seeds: list[int], given: list[Condition]) -> Any:
        made.extend(seeds)
        return traces(texts, seeds, given)

    run = audit(tmp_path / "run", config(), sampler=sampler(counts, "image"), prompts=prompts, quiet=True)
    assert rows(run)["given"]["given_near"] == 12
    assert len(made) < 12


def test_another_image_under_the_same_name_is_another_list(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "list.jsonl", {"prompt": "own", "image": "a.png"})
    save(tmp_path / "a.png", picture(5))
    listed = ConditionedPrompts(path, ["image"])
    made = sampler(traces, "image")
    run = audit(tmp_path / "run", config(), sampler=made, prompts=listed, quiet=True)
    assert run.config.height == SIDE
    Image.fromarray(picture(5)).save(tmp_path / "a.png", compress_level=1)  # the same picture in another file
    audit(tmp_path / "run", config(), sampler=made, prompts=listed, quiet=True)
    save(tmp_path / "a.png", picture(6))
    with pytest.raises(ConfigError, match="another list of prompts"):
        audit(tmp_path / "run", config(), sampler=made, prompts=listed, quiet=True)


def test_a_kept_image_that_was_changed_is_refused(tmp_path: Path) -> None:
    prompts = [("own", Condition(image=picture(5)))]
    run = audit(tmp_path / "run", config(), sampler=sampler(traces, "image"), prompts=prompts, quiet=True)
    (kept,) = (tmp_path / "run" / "conditions").iterdir()
    save(kept, picture(6))
    with pytest.raises(DamagedFileError, match=kept.name):
        RunFolder.open(run.path).condition(0)


@pytest.mark.parametrize(
    ("kinds", "condition", "message"),
    [
        ((), Condition(label=1), "would not depend: it takes prompts alone"),
        (("label",), Condition(image=picture(1)), "condition 'image'.*it takes label"),
    ],
)
def test_a_sampler_that_would_ignore_a_condition_is_refused(
    tmp_path: Path, kinds: tuple[str, ...], condition: Condition, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        audit(
            tmp_path / "run",
            config(),
            sampler=sampler(traces, *kinds),
            prompts=[("a", condition)],
            quiet=True,
        )
    assert not (tmp_path / "run" / "run.toml").exists()


@pytest.mark.parametrize("name", ["../outside", "a" * 63, "A" * 64, None])
def test_a_name_that_leads_out_of_the_folder_is_not_opened(name: str | None) -> None:
    """A run's folder may be a stranger's."""

    class Store:
        place = "run"

        def read(self, name: str) -> bytes:
            raise AssertionError(f"{name} was opened")

    with pytest.raises(
        DamagedFileError, match=r"prompts\.parquet names '.*' as the sha256 of a given picture"
    ):
        StoredConditions(cast(Any, Store())).find({"image": name})


def test_a_sampler_that_needs_an_image_says_so(tmp_path: Path) -> None:
    made = sampler(traces, "image")
    made.needed_conditions = ("image",)
    with pytest.raises(ConfigError, match="from a given image, and the prompts have none"):
        audit(tmp_path / "run", config(), sampler=made, prompts=["a"], quiet=True)


def test_prompts_of_one_run_have_the_same_kinds(tmp_path: Path) -> None:
    prompts = [("a", Condition(label=1)), ("b", Condition(image=picture(1)))]
    with pytest.raises(ConfigError, match="prompt 1 has image, and the first one has label"):
        audit(
            tmp_path / "run", config(), sampler=sampler(traces, "label", "image"), prompts=prompts, quiet=True
        )


def test_lists_without_conditions_have_the_digest_that_they_had(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("prompt,label\na dog,3\na cat,4\n")
    texts = scan_prompts(read_prompts(tmp_path / "list.csv"))
    assert texts.digest == hashlib.sha256(b'["a dog", "a cat"]').hexdigest()
    assert texts.conditions == ()
    assert scan_prompts(ConditionedPrompts(tmp_path / "list.csv", ["label"])).digest != texts.digest
    plain = Config(source="custom")
    assert plain.digest("f", "p") == Config(source="custom", conditions="label").digest("f", "p")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"image": "gone.png"}, r"row 2: image=gone.png does not exist"),
        ({"image": "wide.png"}, r"row 2: image=wide.png has 16x24 pixels .* first image has 16x16"),
        ({"image": "text.png"}, r"row 2: image=text.png cannot be read"),
        ({"image": ""}, r"row 2 has no image"),
        ({"image": "a.png", "mask": "wide.png"}, r"row 2: mask=wide.png has 16x24 .* its image has 16x16"),
        ({"image": "a.png", "mask": "b.png"}, r"row 2: mask=b.png has colours"),
        ({"image": "a.png", "mask": "black.png"}, r"row 2: mask must hold 255 somewhere"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_its_name(
    tmp_path: Path, entry: dict[str, str], message: str
) -> None:
    save(tmp_path / "a.png", picture(1))
    save(tmp_path / "b.png", picture(2))
    save(tmp_path / "wide.png", np.zeros((16, 24, 3), np.uint8) + np.arange(24, dtype=np.uint8)[:, None])
    save(tmp_path / "black.png", np.zeros(SHAPE, np.uint8))
    save(tmp_path / "mask.png", upper_half())
    (tmp_path / "text.png").write_text("no picture")
    kinds = ["image", "mask"] if "mask" in entry else ["image"]
    first = {"prompt": "x", "image": "a.png", "mask": "mask.png"}
    path = write_jsonl(tmp_path / "list.jsonl", first, {"prompt": "y", **entry})
    with pytest.raises(ConfigError, match=message):
        list(ConditionedPrompts(path, kinds))


def test_the_same_list_in_every_format(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    save(tmp_path / "a.png", picture(1))
    save(tmp_path / "m.png", upper_half())
    values = {"caption": ["a dog", ""], "label": [3, 4], "image": ["a.png"] * 2, "mask": ["m.png"] * 2}
    write_jsonl(tmp_path / "list.jsonl", *({n: v[i] for n, v in values.items()} for i in range(2)))
    lines = [",".join(values), *(",".join(str(v[i]) for v in values.values()) for i in range(2))]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    (tmp_path / "list.tsv").write_text("\n".join(lines).replace(",", "\t"))
    pq.write_table(pa.table(values), tmp_path / "list.parquet")
    held = {**values, "image": [(tmp_path / "a.png").read_bytes()] * 2}
    pq.write_table(pa.table(held), tmp_path / "bytes.parquet")
    names = ("list.jsonl", "list.csv", "list.tsv", "list.parquet", "bytes.parquet")
    read = [list(ConditionedPrompts(tmp_path / n, ["label", "image", "mask"])) for n in names]
    assert [entry.prompt for entry in read[0]] == ["a dog", "label 4"]
    assert read[0][0].condition == Condition(3, picture(1), upper_half())
    assert all(other == read[0] for other in read)


def given_run(folder: Path) -> RunFolder:
    """Audit one prompt that repeats a picture of the model's own, beside one that repeats what was given."""
    given = Condition(image=picture(5))
    return audit(
        folder / "run",
        config(),
        sampler=sampler(traces, "image"),
        prompts=[("own", given), ("given", given)],
        quiet=True,
    )


def test_a_training_image_that_was_given_is_not_extracted(tmp_path: Path) -> None:
    set_of = tmp_path / "training"
    set_of.mkdir()
    save(set_of / "own.png", picture(99))
    save(set_of / "other.png", picture(7))
    far = given_run(tmp_path)
    (row,) = match_run(far.path, set_of)
    assert row["extracted"]
    close = np.clip(picture(99).astype(int) + 20, 0, 255).astype(
        np.uint8
    )  # near for the match, not for an edge
    made = audit(
        tmp_path / "close",
        config(threshold=0.05),
        sampler=sampler(traces, "image"),
        prompts=[("own", Condition(image=close))],
        quiet=True,
    )
    (row,) = match_run(made.path, set_of)
    assert row["l2"] < 0.15
    assert not row["extracted"]
    record = read_match(made.storage)
    assert record is not None
    assert record["given"] == 1


def test_show_says_what_generations_were_made_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = given_run(tmp_path)
    assert main(["show", str(run.path)]) == 0
    assert "to the given" in capsys.readouterr().out
    assert main(["show", str(run.path), "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (run.path / row["given_image"]).is_file()
    assert row["given_distance"] > 0.15
    assert row["given_near"] == 0


def test_the_report_shows_the_given_image_beside_the_clique(tmp_path: Path) -> None:
    run = given_run(tmp_path)
    page = write_report(run.path).read_text("utf-8")
    (row,) = [row for row in run.findings() if row["status"] == "finding"]
    assert f"tiled l2 to the clique is {row['given_distance']:.4f}" in page
    assert "The image that all of these were made from." in page
    assert "12 generations within 0.15 of it are left out" in page
    assert "1 prompt had fewer than 10 usable generations, 1 of them since generations repeat" in page
    assert "There were no black or constant images" in page


def test_an_unconditional_model_needs_no_prompts(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    (tmp_path / "model").mkdir()
    about = {"_class_name": "DDPMPipeline", "_diffusers_version": diffusers.__version__}
    (tmp_path / "model" / "model_index.json").write_text(json.dumps(about))
    set_up = Config(model=str(tmp_path / "model"), steps=2)
    assert list(read_prompt_list(set_up)) == ["unconditional"]
    about["_class_name"] = "DiTPipeline"
    (tmp_path / "model" / "model_index.json").write_text(json.dumps(about))
    with pytest.raises(ConfigError, match="the number of a class a line"):
        read_prompt_list(set_up)
    about["_class_name"] = "StableDiffusionInpaintPipeline"
    (tmp_path / "model" / "model_index.json").write_text(json.dumps(about))
    with pytest.raises(ConfigError, match=r'begins with a given image: .* conditions = "image,mask"'):
        read_prompt_list(Config(model=str(tmp_path / "model"), steps=2, prompts="list.csv"))
