"""The rule of a verdict: intervals, parts, Holm, and seeds that are not complete."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Sequence

import numpy as np
import pytest

from memcore.errors import RunError
from memcore.study.findings import finding_as_dict, judge_study
from memcore.study.findings.base import Finding, Measured, Missing, Part, estimate, judge
from memcore.study.findings.collapse import Reading, isotonic, removed
from memcore.study.findings.reading import Study
from tests.support.planted_study import SEEDS, STEPS, extraction_rows, files_of, study_of, with_states


def _measured(*parts: Sequence[float], planned: int = 5, step: float = 0.0) -> Measured:
    named = [
        Part(f"part {i}", "it is so", "unit", dict(enumerate(values)), step) for i, values in enumerate(parts)
    ]
    short = range(min(len(values) for values in parts), planned)
    return Measured(
        parts=named, planned=range(planned), missing=[Missing(f"m{s}", "unfinished", s) for s in short]
    )


def _judge(*parts: Sequence[float], others: int = 0, planned: int = 5) -> Finding:
    rest = [("z", "another", Measured(lacking="nothing to measure."))] * others
    return judge([("a", "one", _measured(*parts, planned=planned)), *rest])[0]


CLEAR, UNCLEAR = (0.4, 0.5, 0.6, 0.5, 0.45), (0.4, -0.5, 0.6, -0.5, 0.1)
AGAINST = [-v for v in CLEAR]


def test_the_interval_is_students_over_seeds() -> None:
    found = estimate(CLEAR)
    error = np.std(CLEAR, ddof=1) / math.sqrt(5)
    assert found.mean == pytest.approx(0.49)
    assert found.low == pytest.approx(0.49 - 2.7764451 * error)
    assert found.high == pytest.approx(0.49 + 2.7764451 * error)
    assert found.p is not None
    assert found.p < 0.001
    assert found.sign_flip_p == 2 / 32, "five seeds cannot give less"


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        ([CLEAR], "shown"),
        ([UNCLEAR], "not shown"),
        ([AGAINST], "opposite"),
        ([CLEAR, CLEAR], "shown"),
        ([CLEAR, UNCLEAR], "not shown"),
        ([CLEAR, AGAINST], "opposite"),
        ([UNCLEAR, AGAINST], "opposite"),
    ],
)
def test_every_part_must_be_shown_and_one_opposite_is_enough(
    parts: list[Sequence[float]], verdict: str
) -> None:
    assert _judge(*parts).verdict == verdict


def test_holm_takes_back_what_one_interval_alone_would_show() -> None:
    weak = (0.1, 0.5, 0.9, 0.3, 0.7)
    assert _judge(weak).verdict == "shown"
    nine = judge([(letter, "t", _measured(weak)) for letter in "abcdefghi"])
    assert {f.verdict for f in nine} == {"not shown"}
    assert nine[0].estimates[0].verdict == "shown"
    assert "not after Holm" in nine[0].reason


def test_equal_seeds_do_not_prove_a_spread_of_nothing() -> None:
    found = estimate([1.0] * 5, step=1 / 3)
    assert found.floored
    assert found.low == pytest.approx(1 - 2.7764451 / 6 / math.sqrt(5))
    assert not estimate(CLEAR, step=0.01).floored


def test_two_ranks_of_two_prove_nothing() -> None:
    assert estimate([1.0] * 5, step=2.0).verdict == "not shown"


def test_a_verdict_waits_for_every_planned_seed() -> None:
    early = _judge(CLEAR[:3])
    assert early.verdict == "not shown"
    assert early.estimates[0].verdict == "shown", "however good it looks so far"
    assert early.reason == "3 of 5 seeds so far: not shown yet."
    assert not early.settled
    assert (
        _judge(CLEAR[:1], planned=1).reason
        == "1 of 1 seeds: not shown, since an interval needs at least two."
    )
    assert _judge((), planned=5).reason == "0 of 5 seeds so far: not shown yet."


def test_a_seed_without_a_value_is_not_taken_for_an_unfinished_one() -> None:
    parts = [
        Part("first", "so", "unit", dict(enumerate(CLEAR)), 0.0),
        Part("second", "so", "unit", {0: 1.0}, 0.0),
    ]
    found = judge([("a", "one", Measured(parts=parts, planned=SEEDS))])[0]
    assert found.reason == "Not shown: the tables of some seeds give no value for second."


def test_a_part_that_was_not_measured_keeps_the_finding_from_being_shown() -> None:
    half = dataclasses.replace(_measured(CLEAR), unmeasured=["across widths"])
    found = judge([("a", "one", half)])[0]
    assert found.verdict == "not shown"
    assert found.reason == "Not shown as a whole (part 0: shown; across widths: not measured)."


def _flips(study: Study) -> Finding:
    return next(f for f in judge_study(study) if f.letter == "d")


def test_a_seed_counts_with_all_its_models_or_not_at_all() -> None:
    study = study_of("d")
    part = with_states(study, d1_s2="unfinished", d0_s4="unfinished")
    found = _flips(part)
    assert found.reason == "3 of 5 seeds so far: not shown yet."
    assert set(found.measured.parts[0].values) == {0, 1, 3}
    assert len(found.measured.models) == 6
    assert "d0-s2" not in found.measured.models
    assert [(m.model, m.state) for m in found.measured.missing] == [
        ("d0-s4", "unfinished"),
        ("d1-s2", "unfinished"),
    ]


def test_a_failed_model_is_told_and_leaves_its_finding_open() -> None:
    found = _flips(with_states(study_of("d"), why="diverged", d1_s2="failed"))
    assert found.verdict == "not shown"
    assert found.reason == "4 of 5 seeds so far (1 of the missing models failed): not shown yet."
    assert found.measured.missing[0].why == "diverged"


def test_tables_of_unfinished_models_are_not_read() -> None:
    study = study_of("d")
    files = files_of(study)
    files.held = {name: data for name, data in files.held.items() if "-s2" not in name}
    assert _flips(with_states(study, d0_s2="unfinished", d1_s2="unfinished")).seeds == 4


def test_no_figure_without_its_control() -> None:
    study = study_of("d")
    rows = [row for step in STEPS for row in extraction_rows(step, 0.3) if row["of"] == "train"]
    files_of(study).put("d0-s1", "extraction", rows)
    with pytest.raises(
        RunError, match=r"d0-s1\.extraction\.parquet has no held-out control of the rule 'ratio' at step 500"
    ):
        judge_study(study)


def test_what_the_control_finds_is_taken_off() -> None:
    plain, loose = study_of("d"), study_of("d")
    for spec in loose.specs:
        rows = [
            r
            for k, step in enumerate(STEPS)
            for r in extraction_rows(step, 0.2 + 0.1 * k, control=0.2 + 0.1 * k)
        ]
        files_of(loose).put(spec.id, "extraction", rows)
    assert _flips(plain).verdict == "shown"
    assert set(_flips(loose).measured.parts[0].values.values()) == {0.0}


def test_a_finding_without_models_is_not_measured() -> None:
    found = judge_study(study_of("d"))
    assert [f.letter for f in found] == list("abcdefghi")
    assert found[0].reason == "Not measured: no group of this protocol is for this finding."
    assert found[0].verdict == "not shown"
    assert found[0].p == 1.0


def test_strong_lira_needs_more_draws_than_lira() -> None:
    study = study_of("g")
    files = files_of(study)
    for spec in study.specs:
        rows = [{**row, "losses": row["losses"][:4]} for row in study.rows(spec, "losses")]
        files.put(spec.id, "losses", rows, {"timesteps": [50], "draws": 4, "flips": 1})
    found = next(f for f in judge_study(study) if f.letter == "g")
    assert [part.name for part in found.measured.parts] == [
        "members have the lower loss",
        "LiRA against the threshold",
    ]
    assert found.verdict == "not shown", "only half of the claim was looked at"
    assert "no strong LiRA" in " ".join(found.measured.notes)


def test_one_seed_of_many_models_is_resampled() -> None:
    found = next(f for f in judge_study(study_of("g", seeds=(3,))) if f.letter == "g")
    assert found.settled
    assert {e.verdict for e in found.estimates} == {"shown"}
    assert found.seeds == 1
    for part, told in zip(found.measured.parts, found.estimates, strict=True):
        assert told.low is not None
        assert told.high is not None
        assert told.low < part.values[3] < told.high
    assert "It holds for this pool." in " ".join(found.measured.notes)
    swapped = next(f for f in judge_study(study_of("g", seeds=(3,), swapped=True)) if f.letter == "g")
    assert swapped.verdict == "opposite"
    rest = {f.letter: f for f in judge_study(study_of("dg", seeds=(3,)))}
    assert rest["d"].reason == "1 of 1 seeds: not shown, since an interval needs at least two."


def test_mirrored_draws_are_for_models_that_were_trained_on_mirrored_images() -> None:
    """Half of the draws say nothing of membership: they are left out where the models never saw such images."""

    def strong(flips: bool) -> float:
        study = study_of("g", seeds=(0, 1))
        rng = np.random.default_rng(0)
        for spec in study.specs:
            rows = study.rows(spec, "losses")
            for row in rows:
                plain = np.reshape(row["losses"], (2, 6))
                row["losses"] = np.stack([plain, rng.lognormal(size=plain.shape)], axis=2).ravel().tolist()
            files_of(study).put(spec.id, "losses", rows, {"timesteps": [50, 100], "draws": 6, "flips": 2})
        specs = [
            dataclasses.replace(s, factors=dataclasses.replace(s.factors, flips=flips)) for s in study.specs
        ]
        found = next(f for f in judge_study(dataclasses.replace(study, specs=specs)) if f.letter == "g")
        return found.estimates[2].mean or 0.0

    assert strong(False) == pytest.approx(_strong_of_plain_draws())
    assert strong(True) < strong(False) - 0.05


def _strong_of_plain_draws() -> float:
    found = next(f for f in judge_study(study_of("g", seeds=(0, 1))) if f.letter == "g")
    return found.estimates[2].mean or 0.0


def test_flips_must_lower_more_than_the_copies_that_are_mirrored() -> None:
    study = study_of("d")
    for spec in study.specs:
        share = 0.2 + 0.01 * spec.seed if spec.factors.flips else 0.3
        files_of(study).put(
            spec.id, "extraction", [r for step in STEPS for r in extraction_rows(step, share)]
        )
    found = _flips(study)
    assert [e.verdict for e in found.estimates] == ["shown", "not shown"], "a bound is never the opposite"
    assert found.verdict == "not shown", "half of the copies may be mirrored"


def test_models_of_a_pool_with_other_draws_are_refused() -> None:
    study = study_of("g")
    rows = [{**row, "losses": row["losses"][:4]} for row in study.rows(study.specs[1], "losses")]
    files_of(study).put(study.specs[1].id, "losses", rows, {"timesteps": [50], "draws": 4, "flips": 1})
    with pytest.raises(RunError, match="do not hold the losses of the same images at the same draws"):
        judge_study(study)


def test_the_figures_are_json() -> None:
    for finding in judge_study(study_of("abcdefghi", seeds=SEEDS[:2])):
        told = finding_as_dict(finding)
        assert json.loads(json.dumps(told, allow_nan=False)) == told | {
            "table": json.loads(json.dumps(told["table"])),
            "plot": json.loads(json.dumps(told["plot"])),
        }
        assert [set(p["values"]) for p in told["parts"]] == [{"0", "1"}] * len(told["parts"])


def test_the_ascending_fit_is_the_nearest_one() -> None:
    rng = np.random.default_rng(0)
    points = [(float(i // 2), float(v)) for i, v in enumerate(rng.normal(size=24))]
    fit = isotonic(points)
    assert [x for x, _ in fit] == sorted({x for x, _ in points})
    assert all(a <= b for (_, a), (_, b) in itertools.pairwise(fit))
    error = sum((dict(fit)[x] - y) ** 2 for x, y in points)
    for _ in range(200):
        other = dict(
            zip(
                dict(fit),
                np.sort(np.array([y for _, y in fit]) + 0.2 * rng.normal(size=len(fit))),
                strict=True,
            )
        )
        assert sum((other[x] - y) ** 2 for x, y in points) >= error - 1e-12


def _readings(value: str) -> list[Reading]:
    scale = {"ratio": lambda n, t: t / n, "step": lambda n, t: t / 64}[value]
    return [
        Reading(n, 32, t, math.tanh(scale(n, t) / 40))
        for n in (32, 64, 128)
        for t in (250, 500, 1000, 2000, 4000)
    ]


def test_the_axis_that_made_the_curves_is_told_from_the_other() -> None:
    def by(value: str) -> float | None:
        return removed(_readings(value), lambda r: r.step / r.n, lambda r: r.step, lambda r: r.n)

    assert (by("ratio") or 0) > 0.95
    assert (by("step") or 0) < -0.95


def test_noise_favours_neither_axis() -> None:
    rng = np.random.default_rng(1)
    values = []
    for _ in range(200):
        rows = [r._replace(value=float(rng.normal())) for r in _readings("step")]
        values.append(removed(rows, lambda r: r.step / r.n, lambda r: r.step, lambda r: r.n) or 0.0)
    assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(200) + 0.05


def test_curves_that_share_no_place_are_not_compared() -> None:
    rows = [Reading(1, 1, 10, 0.1), Reading(1000, 1, 10, 0.2)]
    assert removed(rows, lambda r: r.step / r.n, lambda r: r.step, lambda r: r.n) is None
