"""What stands beside the findings: each figure told from tables whose truth is known, and its control with it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memcore.study.findings.beside import Beside, measure_beside
from memcore.study.findings.reading import Study
from memcore.study.protocols.protocol import Attack, DataSpec, Factors, Group, ModelSpec, Protocol
from memcore.study.report import write_study_report
from tests.support.planted_study import Digests, Files, with_states
from tests.support.report_page import Page, assert_inert

SEEDS = (0, 1, 2)
TIMES, DRAWS = [50, 200], 2


def _loss_rows(seed: int, gap: float) -> list[dict[str, Any]]:
    """Return losses of images that differ in difficulty; members are easier by ``gap`` at t = 50."""
    rng = np.random.default_rng(seed)
    rows = []
    for role, count, harder in (("member", 100, -gap), ("held-out", 100, 0.0), ("shifted", 100, 1.0)):
        for i in range(count):
            difficulty = rng.normal()
            logs = [
                difficulty + 0.1 * rng.normal() + (harder if t == 50 else 0)
                for t in TIMES
                for _ in range(DRAWS)
            ]
            rows.append(
                {"image": i, "member": role == "member", "role": role, "losses": np.exp(logs).tolist()}
            )
    return rows


def _study(gap: float = 0.8) -> Study:
    files = Files()
    attacks: tuple[Attack, ...] = ("extraction", "membership", "canaries")
    specs = [ModelSpec(f"m{s}", ("sets",), s, Factors(n=10, canaries=2), (100,), attacks) for s in SEEDS]
    for spec in specs:
        files.put(
            spec.id, "losses", _loss_rows(spec.seed, gap), {"timesteps": TIMES, "draws": DRAWS, "flips": 1}
        )
        common = {
            "step": 100,
            "rule": "ratio",
            "threshold": None,
            "samples": 8,
            "copies": 0,
            "planted": 10,
            "merged": 0,
        }
        files.put(
            spec.id,
            "extraction",
            [
                {**common, "of": "train", "hits": 6, "unique": 5},
                {**common, "of": "held-out", "hits": 1, "unique": 1},
            ],
        )
        files.put(
            spec.id,
            "coverage",
            [
                {"step": 100, "rule": "ratio", "samples": n, "unique": u}
                for n, u in ((1, 0), (2, 1), (4, 3), (8, 5))
            ],
        )
        files.put(
            spec.id,
            "canaries",
            [
                {
                    "step": 100,
                    "canary": c,
                    "copies": 20,
                    "rank": 4,
                    "candidates": 256,
                    "exposure": 6.0 + spec.seed,
                }
                for c in (0, 1)
            ],
        )
    protocol = Protocol("p", "", {"images": DataSpec()}, (Group("sets", (), SEEDS, (100,), attacks),))
    return Study(protocol, specs, {s.id: "done" for s in specs}, files, Digests(files, specs))  # type: ignore[arg-type]


def _named(figures: Sequence[Beside]) -> dict[str, Beside]:
    return {found.name: found for found in figures}


def _mean(cell: object) -> float:
    return float(str(cell).split()[0])


@pytest.fixture(scope="module")
def found() -> dict[str, Beside]:
    return _named(measure_beside(_study()))


def test_coverage_is_a_share_of_the_training_set_beside_that_of_the_control(found: dict[str, Beside]) -> None:
    (row,) = found["coverage"].table.rows
    assert row == ["sets", 3, 8, pytest.approx(0.3), pytest.approx(0.5), pytest.approx(0.1)]
    plot = found["coverage"].plot
    assert plot is not None
    assert [(p.x, p.y) for p in plot.series[0].points] == [
        (1, 0.0),
        (2, pytest.approx(0.1)),
        (4, pytest.approx(0.3)),
        (8, 0.5),
    ]
    assert plot.series[1].control


def test_canaries_are_counted_once_a_seed(found: dict[str, Beside]) -> None:
    (row,) = found["canaries"].table.rows
    assert row[:3] == ["20", 6, 3]
    assert _mean(row[3]) == 7.0
    assert "of at most 8.0" in found["canaries"].sentence


def test_quantile_regression_sees_what_difficulty_hides(found: dict[str, Beside]) -> None:
    better, plain, gain = (_mean(row[3]) for row in found["quantile"].table.rows)
    assert plain < 0.8 < 0.95 < better
    assert gain == pytest.approx(better - plain, abs=2e-3)


def test_quantile_regression_finds_nothing_where_nobody_was_trained_on() -> None:
    """The control of the attack itself: members that are as hard as others."""
    rows = _named(measure_beside(_study(gap=0.0)))["quantile"].table.rows
    assert abs(_mean(rows[0][3]) - 0.5) < 0.06


def test_the_shifted_control_fools_the_attack_and_is_told_so(found: dict[str, Beside]) -> None:
    right, trap, nobody = (_mean(row[3]) for row in found["shifted"].table.rows)
    assert right < trap
    assert nobody > 0.65, "two sets that no model saw are told apart"
    assert "on two sets that no model saw" in found["shifted"].sentence


def test_models_that_are_not_done_are_in_no_figure() -> None:
    study = with_states(_study(), m0="unfinished", m1="failed")
    assert _named(measure_beside(study))["coverage"].table.rows[0][1] == 1
    assert measure_beside(with_states(study, m2="unfinished")) == []


def test_the_page_shows_them_and_a_name_is_never_markup(tmp_path: Path) -> None:
    study = _study()
    name = "</svg><script>alert(1)</script>\x00"
    group = dataclasses.replace(study.protocol.groups[0], name=name)
    protocol = dataclasses.replace(study.protocol, groups=(group,))
    specs = [dataclasses.replace(spec, groups=(name,)) for spec in study.specs]
    page = Page(
        write_study_report(tmp_path, dataclasses.replace(study, protocol=protocol, specs=specs)).read_text(
            "utf-8"
        )
    )
    assert page.cards("beside-") == [
        "beside-coverage",
        "beside-canaries",
        "beside-quantile",
        "beside-shifted",
    ]
    assert_inert(page)
    assert "\x00" not in page.html
    told = json.loads((tmp_path / "report" / "findings.json").read_text())["beside"]
    assert [found["name"] for found in told] == ["coverage", "canaries", "quantile", "shifted"]
