"""Defences of a study: duplicates are found, the filter is exact, a trade is judged by bounds that were fixed before."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from memcore.engine.scheduler import run_here
from memcore.errors import ArgumentValueError, ConfigError
from memcore.study.classifier import FeatureNetwork
from memcore.study.data.images import ImageSet
from memcore.study.data.public import public_images
from memcore.study.data.sets import draw_sets
from memcore.study.defences.filtered import choose_limit, nearest_ssd
from memcore.study.defences.merging import find_cosine, merge_set
from memcore.study.findings import judge_study
from memcore.study.findings.beside import measure_beside
from memcore.study.findings.defended import Outcome, exposure_by_copies
from memcore.study.findings.reading import Study
from memcore.study.findings.trades import miss
from memcore.study.folder import StudyFolder, StudyStart
from memcore.study.plan import plan_study
from memcore.study.protocols.expand import expand
from memcore.study.protocols.protocol import DataSpec, Factors, QualitySpec
from memcore.study.protocols.read import parse_protocol
from memcore.study.report.page import as_json, render
from memcore.study.tables import read_rows
from memcore.study.task import StudyJob
from tests.support.study_sets import TINY, blobs, write_tiny

HEAD = (
    TINY.partition("[[groups]]")[0]
    .replace("samples = 70", "samples = 128")
    .replace("block = 100", "block = 70")
)
GROUPS = """
[[groups]]
name = "plain"
defence = "undefended"
findings = ["p", "q", "r", "s", "t", "u"]
seeds = 2
attacks = ["extraction", "quality", "canaries", "membership", "filter"]
fixed = {{ n = 12, steps = 4, width = 8, batch = 4, canaries = 1, copies = [[2, 3]] }}
[[groups]]
name = "graph"
defence = "merged"
findings = ["p", "t"]
seeds = 2
attacks = ["extraction", "quality", "canaries"]
fixed = {{ n = 12, steps = 4, width = 8, batch = 4, canaries = 1, copies = [[2, 3]], merge = "graph" }}
[[groups]]
name = "ambient"
defence = "ambient"
findings = ["s", "t"]
seeds = 2
attacks = ["extraction", "quality"]
fixed = {{ n = 12, steps = 4, width = 8, batch = 4, canaries = 1, copies = [[2, 3]], ambient = 300, u_shape = 1.0 }}
[[groups]]
name = "dp"
defence = "DP, epsilon 8"
findings = ["q", "r", "t"]
seeds = 2
attacks = ["extraction", "quality", "membership"]
fixed = {{ n = 12, steps = 5, width = 8, batch = 4, copies = [[2, 3]], public = "images", public_steps = 2, dp_epsilon = 8 }}
"""


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def image_set(count: int = 300) -> ImageSet:
    images = blobs(count)
    labels = np.full(count, -1, np.int64)
    return ImageSet(images, labels, blobs(60, seed=4), np.full(60, -1, np.int64), "made")


FACTORS = Factors(n=20, copies=((2, 5),), canaries=2, canary_copies=3)


def test_merging_by_the_graph_leaves_each_image_and_each_canary_once() -> None:
    data = image_set()
    sets = draw_sets(data, DataSpec(block=100), FACTORS, 0)
    merged = merge_set(sets, data, "graph")
    rows = merged.sets.rows()
    assert len(sets.rows()) == 18 + 2 * 5 + 2 * 3
    assert len(np.unique(rows)) == len(rows)
    assert merged.removed == len(sets.rows()) - len(rows)
    assert merged.wrongly == 22 - len(rows)
    assert merged.sets.canary_copies == 1
    assert merge_set(sets, data, "none").sets is sets


def test_merging_by_embeddings_finds_all_planted_copies_and_says_what_it_took_wrongly() -> None:
    data = image_set()
    sets = draw_sets(data, DataSpec(block=100), FACTORS, 0)
    network = FeatureNetwork(data, QualitySpec(steps=3, features=8))
    merged = merge_set(sets, data, "embeddings", network)
    assert int(merged.sets.copies.max()) == 1
    assert merged.removed - merged.wrongly == 2 * 4 + 2 * 2
    with pytest.raises(ArgumentValueError, match="network must be given"):
        merge_set(sets, data, "embeddings")


def test_the_cosine_is_exceeded_by_no_more_images_than_were_allowed() -> None:
    features = np.random.default_rng(0).normal(size=(200, 6))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    near = unit @ unit.T - 2 * np.eye(200)
    for wrong in (0.0, 0.05, 0.5):
        share = float((near.max(axis=1) > find_cosine(features, wrong)).mean())
        assert wrong - 0.011 <= share <= wrong


def test_the_filter_is_exact_and_passes_no_copy_within_its_distance() -> None:
    training, held_out = blobs(50), blobs(400, seed=3)
    limit = choose_limit(nearest_ssd(held_out[:200], training), 0.01)
    truth = ((held_out[:, None].astype(np.int64) - training[None]) ** 2).sum(axis=(2, 3, 4)).min(axis=1)
    assert np.array_equal(nearest_ssd(held_out, training), truth)
    assert int((truth[:200] <= limit).sum()) <= 2 < int((truth[:200] <= limit + 1).sum()) + 1
    near = training.astype(np.int64)
    near[:, 0, 0, 0] = np.where(near[:, 0, 0, 0] > 100, near[:, 0, 0, 0] - 1, near[:, 0, 0, 0] + 1)
    assert limit >= 1
    assert (nearest_ssd(near.astype(np.uint8), training) <= limit).all()


def test_public_images_are_none_that_a_seed_is_trained_on() -> None:
    protocol = parse_protocol((HEAD + GROUPS).format(path="x.npy").encode(), "it")
    spec = next(s for s in expand(protocol) if s.factors.public)
    data = image_set()
    public = public_images(protocol, spec, {"images": data})
    assert public is not None
    assert len(public) == 70
    for seed in (0, 1):
        sets = draw_sets(data, protocol.data["images"], spec.factors, seed)
        for used in (sets.members, sets.control):
            assert not {i.tobytes() for i in data.images[used]} & {i.tobytes() for i in public}
    late = dataclasses.replace(protocol, groups=(dataclasses.replace(protocol.groups[0], seeds=(3,)),))
    with pytest.raises(ConfigError, match="its last block of 70 images is that of seed 3"):
        public_images(late, spec, {"images": data})


@pytest.mark.parametrize(
    ("row", "missed"),
    [
        (Outcome(0.05, 10.0, 0.2), 0.0),  # at two bounds
        (Outcome(0.1, 10.0, 0.1), 0.1),  # too many copies
        (Outcome(0.0, 12.0, 0.1), 0.1),  # too far
        (Outcome(0.0, 10.0, 0.4), 0.5),  # membership as before
        (Outcome(0.0, 10.0, None), 0.5),  # and where it was not measured
        (Outcome(0.0, 9.0, 0.0), -0.1),  # acceptable
    ],
)
def test_a_trade_is_as_bad_as_the_worst_bound_that_it_misses(row: Outcome, missed: float) -> None:
    assert miss(row, Outcome(0.5, 10.0, 0.4)) == pytest.approx(missed)


def test_a_seed_without_a_leak_shows_no_trade() -> None:
    assert miss(Outcome(0.0, 10.0, 0.0), Outcome(0.005, 10.0, 0.4)) is None
    assert miss(Outcome(0.0, float("nan"), 0.0), Outcome(0.5, 10.0, 0.4)) is None


def test_a_study_of_defences_is_run_and_judged(tmp_path: Path) -> None:
    protocol = write_tiny(tmp_path, HEAD + GROUPS)
    start = StudyStart(str(tmp_path / "study"), protocol.read_bytes(), "it")
    folder: StudyFolder = run_here(StudyJob(start, quiet=True))
    assert all(not m.get("given_up") for m in folder.manifests().values()), folder.manifests()
    study = Study.of(folder)
    found = {finding.letter: finding for finding in judge_study(study)}
    assert list(found) == ["p", "q", "r", "s", "t", "u"]
    assert all(not f.measured.lacking and not f.measured.missing for f in found.values())
    assert [part.name for part in found["q"].measured.parts] == [
        "DP, epsilon 8 stops copies",
        "DP, epsilon 8 costs quality",
    ]
    assert [part.name for part in found["t"].measured.parts] == [
        "merged",
        "ambient",
        "DP, epsilon 8",
        "filtered output",
    ]
    by_group = {(s.groups[0], s.seed): s for s in study.specs}
    rows = {
        group: {
            name: read_rows(
                folder.storage, by_group[group, 0].id, name, folder.files()[by_group[group, 0].id]
            )
            for name in ("defence", "privacy", "filtered")
        }
        for group in ("plain", "graph", "dp")
    }
    assert (rows["plain"]["defence"], rows["plain"]["privacy"]) == ([], [])
    assert rows["plain"]["filtered"][0]["samples"] == 128
    assert rows["graph"]["defence"][0]["removed"] >= 4
    spent = {row["copies"]: row["epsilon"] for row in rows["dp"]["privacy"]}
    assert spent[1] == pytest.approx(8.0, rel=1e-3)
    assert spent[3] > 2 * spent[1]
    dp = by_group["dp", 0]
    assert set(exposure_by_copies(study, dp)) == {1, 3}
    text = render(study, list(found.values()), measure_beside(study))
    assert "filtered output" in text
    assert "An acceptable trade" in text
    assert len(as_json(study)["findings"]) == 6


def test_a_plan_times_public_and_private_steps_apart(tmp_path: Path) -> None:
    protocol = parse_protocol(write_tiny(tmp_path, HEAD + GROUPS).read_bytes(), "it")
    plan = plan_study(protocol, workers=1, seconds=0.01)
    assert plan["models"] == 8
    assert len(plan["kinds"]) >= 2
