"""The comparison of kinds of models: its fit, its levels of distance, which GAN is compared, and what its page shows."""

from __future__ import annotations

import dataclasses
import math

import pytest

from memcore.study.findings import COMPARISON, judge_study
from memcore.study.findings.base import Finding
from memcore.study.findings.decay import fit_decay
from memcore.study.findings.equal_distance import LEVELS, interpolate
from memcore.study.findings.kinds import find_pairs
from memcore.study.findings.reading import Study
from memcore.study.protocols.protocol import Factors, Group, ModelSpec
from tests.support.planted_study import (
    COMPARED,
    SEEDS,
    STEPS,
    extraction_rows,
    files_of,
    study_of,
    with_states,
)


def finding(study: Study, letter: str) -> Finding:
    return next(f for f in judge_study(study) if f.letter == letter)


@pytest.mark.parametrize(("a", "b"), [(0.9, 0.01), (0.5, 0.08), (0.2, -0.02), (1.0, 0.0)])
def test_a_fit_gives_back_the_curve(a: float, b: float) -> None:
    found = fit_decay([(n, a * math.exp(-b * n)) for n in (16, 32, 64, 128)])
    assert found is not None
    assert found == pytest.approx((a, b), abs=1e-6)


def test_a_fit_of_nothing_is_none_and_one_of_a_single_leak_is_bounded() -> None:
    assert fit_decay([(16, 0.0), (32, 0.0)]) is None
    assert fit_decay([(16, -0.01), (32, 0.0)]) is None
    assert fit_decay([(16, 0.5)]) is None
    found = fit_decay([(16, 0.5), (32, 0.0), (64, 0.0)])
    assert found is not None
    assert found[1] == pytest.approx(math.log(1000) / 16, rel=1e-6)


def test_the_fit_is_the_least_squares_one() -> None:
    from scipy.optimize import curve_fit

    rows = [(16, 0.62), (32, 0.35), (64, 0.2), (128, 0.01)]
    (a, b), _ = curve_fit(lambda n, a, b: a * pow(math.e, -b * n), *zip(*rows, strict=True), p0=(1, 0.01))
    assert fit_decay(rows) == pytest.approx((a, b), rel=1e-4)


def test_a_curve_is_read_at_every_passage_of_a_distance() -> None:
    there_and_back = [(100.0, 0.0), (60.0, 0.4), (100.0, 0.8)]
    assert interpolate(there_and_back, 80.0) == pytest.approx(0.4)  # 0.2 on the way there, 0.6 back
    assert interpolate([(100.0, 0.0), (60.0, 0.4)], 100.0) == 0.0
    assert interpolate([(70.0, 0.3)], 70.0) == 0.3


def test_levels_are_those_that_every_model_reaches() -> None:
    found = finding(study_of("k"), "k")
    table = found.measured.table
    assert table is not None
    levels = [row[1] for row in table.rows]
    assert len(levels) == LEVELS
    # seeds 0 to 4 end at 55 to 59 and start at 95 to 99, the GAN goes from 98 to 58
    assert levels[0] == pytest.approx(59)
    assert levels[-1] == pytest.approx(95)


def test_distances_that_do_not_overlap_are_not_shown() -> None:
    study = study_of("k")
    for spec in study.specs:
        if spec.factors.model == "dcgan":
            rows = [{**row, "frechet": row["frechet"] + 200} for row in study.quality(spec)]
            files_of(study).put(spec.id, "quality", rows)
    found = finding(study, "k")
    assert found.verdict == "not shown"
    assert "no Frechet distance is reached by all models of both kinds" in found.reason
    assert "diffusion 55 to 99 and DCGAN, hinge loss 258 to 298" in found.reason


def test_a_seed_without_its_gan_does_not_count() -> None:
    study = study_of("j")
    gan = next(s for s in study.specs if s.seed == 3 and s.factors.model == "dcgan")
    found = finding(with_states(study, **{gan.id.replace("-", "_"): "unfinished"}), "j")
    assert found.verdict == "not shown"
    assert found.seeds == len(SEEDS) - 1
    assert [m.model for m in found.measured.missing] == [gan.id]


def test_other_kinds_are_in_the_table_and_in_no_verdict() -> None:
    """A StyleGAN of two seeds that leaks everything changes no number: the GAN with all seeds is compared."""
    study = study_of("j")
    before = finding(study, "j")
    specs = [
        ModelSpec(
            f"other-s{seed}", ("others",), seed, Factors(n=100, model="stylegan"), STEPS, ("extraction",)
        )
        for seed in SEEDS[:2]
    ]
    for spec in specs:
        rows = [r for s in STEPS for r in extraction_rows(s, 1.0, planted=100)]
        files_of(study).put(spec.id, "extraction", rows)
    group = Group("others", ("j",), SEEDS[:2], STEPS, ("extraction",))
    wider = dataclasses.replace(
        study,
        specs=[*study.specs, *specs],
        states={**study.states, **{spec.id: "done" for spec in specs}},
        protocol=dataclasses.replace(study.protocol, groups=(*study.protocol.groups, group)),
        files={**study.files, **{spec.id: _digests(study, spec) for spec in specs}},
    )
    pairs = find_pairs(wider, "j")
    assert pairs is not None
    assert pairs.gan == "dcgan"
    found = finding(wider, "j")
    assert [p.values for p in found.measured.parts] == [p.values for p in before.measured.parts]
    table = found.measured.table
    assert table is not None
    ours = [row for row in table.rows if row[1] == "n = 100, single images"]
    assert [row[0] for row in ours] == ["small StyleGAN2", "DCGAN, hinge loss", "diffusion"]
    assert ours[0][5:7] == [200, 200]
    theirs = {row[0]: row[5] for row in table.rows if row[1] == "the paper"}
    assert theirs["OpenAI-DDPM (diffusion)"] == 301
    assert theirs["StyleGAN-ADA (GAN)"] == 150


def _digests(study: Study, spec: ModelSpec):  # type: ignore[no-untyped-def]
    from memcore.storage.digests import digest_bytes

    held = files_of(study).held
    return {name: digest_bytes(data) for name, data in held.items() if name.startswith(f"rows/{spec.id}.")}


def test_a_protocol_gets_the_families_that_it_names() -> None:
    assert [f.letter for f in judge_study(study_of("b"))] == list("abcdefghi")
    assert [f.letter for f in judge_study(study_of("j"))] == list(COMPARED)
    assert [f.letter for f in judge_study(study_of("bj"))] == [*"abcdefghi", *COMPARED]
    assert [letter for letter, *_ in COMPARISON] == list(COMPARED)
