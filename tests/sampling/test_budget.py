"""The sequential budget: its boundary against enumeration, its promise against simulation, and whole runs with it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memcore.audit import audit
from memcore.errors import ArgumentTypeError, ArgumentValueError, ConfigError, MemcoreError
from memcore.evaluation.score import clopper_pearson
from memcore.graphs.prompt_graph import PromptGraph
from memcore.runs.config import Config
from memcore.runs.config_file import from_mapping
from memcore.runs.folder import RunFolder
from memcore.sampling import Budget, Sequential, StopReason, find_boundary, interleave, outcome
from memcore.sampling.boundary import Boundary
from tests.support.run_files import findings_bytes, image_digest
from tests.support.samplers import COPY_RATES, RatedSampler
from tests.support.synthetic import SyntheticSampler

RATES = st.fractions(Fraction(1, 20), Fraction(19, 20), max_denominator=40)


def enumerated(boundary: Boundary, rate: Fraction) -> dict[str, Fraction]:
    """The outcome by going through all 2^generations sequences of copies and others."""
    total = dict.fromkeys(("given_up", "lost", "found", "images"), Fraction(0))
    for sequence in itertools.product((0, 1), repeat=boundary.generations):
        probability = rate ** sum(sequence) * (1 - rate) ** (len(sequence) - sum(sequence))
        copies, end = 0, "all"
        for images, copy in enumerate(sequence, 1):
            copies += copy
            if copies == boundary.min_clique:
                end = "found"
                break
            if any(images == stop and copies <= size for size, stop in enumerate(boundary.stops, 1)):
                end = "given_up"
                break
        total["images"] += probability * images
        if end != "all":
            total[end] += probability
        if end == "given_up" and sum(sequence) >= boundary.min_clique:
            total["lost"] += probability
    return total


@settings(max_examples=25, deadline=None)
@given(RATES, RATES, st.integers(1, 9), st.integers(2, 5), RATES)
def test_the_boundary_and_its_outcome_are_those_of_enumeration(
    copy_rate: Fraction, miss_rate: Fraction, generations: int, min_clique: int, other: Fraction
) -> None:
    boundary = find_boundary(copy_rate, miss_rate, generations, min_clique)
    tiny = Fraction(1, 2**200)
    for rate in (copy_rate, other):
        expected, found = enumerated(boundary, rate), outcome(boundary, rate)
        for name, value in expected.items():
            assert abs(getattr(found, name) - value) < tiny, name
        assert found.given_up >= expected["given_up"]
    assert boundary.miss == outcome(boundary, copy_rate).given_up <= miss_rate
    assert list(boundary.stops) == sorted(boundary.stops)


@settings(max_examples=30, deadline=None)
@given(RATES, RATES, st.integers(1, 120), st.integers(2, 12))
def test_the_promise_holds_at_every_higher_rate(
    copy_rate: Fraction, miss_rate: Fraction, generations: int, min_clique: int
) -> None:
    boundary = find_boundary(copy_rate, miss_rate, generations, min_clique)
    rates = [copy_rate + (1 - copy_rate) * Fraction(i, 5) for i in range(5)]
    given_up = [outcome(boundary, rate).given_up for rate in rates]
    assert given_up == sorted(given_up, reverse=True)
    assert given_up[0] <= miss_rate
    # one image less at the first stop would break the promise, or take the reserve of the other stops
    if boundary.stops and boundary.stops[0] > 1:
        n = boundary.stops[0] - 1
        pairless = (1 - copy_rate) ** n + n * copy_rate * (1 - copy_rate) ** (n - 1)
        assert pairless > miss_rate * Fraction(19, 20) - Fraction(1, 2**200)


def test_known_boundaries() -> None:
    """A change would silently end prompts of running audits elsewhere."""
    assert Sequential(0.10, 0.01).boundary.stops == (64, 111, 148, 168, 186, 202, 218, 233, 248)
    assert Sequential(0.05, 0.01).boundary.stops == (131, 225, 301, 341, 377, 410, 443, 474)
    assert Sequential(0.02, 0.01, 400).boundary.stops == (332,)
    assert Sequential(0.01, 0.01).boundary.stops == ()
    assert Sequential(0.10, 0.01, min_clique=2).boundary.stops == (64,)


def test_savings_where_nearly_no_prompt_is_memorised() -> None:
    """350,000 prompts, 94 with copies: exact expectations, whatever the copy rate of the 94 is."""
    for rule, least in ((Sequential(0.10, 0.01), 0.86), (Sequential(0.05, 0.01), 0.72)):
        without = outcome(rule.boundary, Fraction(1, 10**9)).images
        worst = max(outcome(rule.boundary, Fraction(i, 50)).images for i in range(1, 50))
        images = (350_000 - 94) * without + 94 * worst
        assert 1 - images / (350_000 * 500) >= least


def walk(rule: Sequential, cliques: Sequence[int]) -> tuple[int, StopReason]:
    """The prompt's end when ``cliques[n]`` is the size of the largest clique among its first n images."""
    generated = 0
    while True:
        size = int(cliques[generated])
        decision = rule.decide(generated, lambda known=(size, size): known)  # type: ignore[misc]
        if decision.stop is not None:
            return generated, decision.stop
        assert decision.images > 0
        generated += decision.images


def simulate(rule: Sequential, rate: float, prompts: int, seed: int, background: bool) -> dict[str, int]:
    """Counts of found, lost (given up, though the fixed rule finds) and images over simulated prompts.

    With ``background`` the largest clique is that of the copies or of images that resemble each other by chance.
    """
    rng = np.random.default_rng(seed)
    counts: Counter[str] = Counter()
    for _ in range(prompts):
        copies = np.concatenate([[0], (rng.random(rule.generations) < rate).cumsum()])
        cliques = np.maximum(copies, np.minimum(np.arange(len(copies)), 1))
        if background:
            chance = rng.random() * 0.02
            cliques = np.maximum(
                cliques, np.concatenate([[0], (rng.random(rule.generations) < chance).cumsum()])
            )
        images, stop = walk(rule, cliques)
        counts["images"] += images
        counts["found"] += stop == StopReason.FOUND
        counts["lost"] += stop == StopReason.HOPELESS and copies[-1] >= rule.min_clique
        assert stop != StopReason.IMPOSSIBLE or cliques[-1] < rule.min_clique
        assert stop != StopReason.ALL or images == rule.generations
    return counts


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize(("copy_rate", "times"), [(0.10, 1), (0.10, 1.5), (0.05, 1)])
def test_simulated_misses_stay_within_the_promise(copy_rate: float, times: float, background: bool) -> None:
    """A smaller version of benchmarks/budget.py; the seeds are fixed, so this cannot fail by chance alone."""
    rule = Sequential(copy_rate, 0.01, look_every=1)
    counts = simulate(rule, copy_rate * times, 1000, seed=3, background=background)
    low, high = clopper_pearson(counts["lost"], 1000, 0.999)
    assert low <= 0.01
    exact = outcome(rule.boundary, Fraction(str(round(copy_rate * times, 6))))
    if not background:
        assert low <= exact.lost <= high
        assert counts["images"] / 1000 == pytest.approx(float(exact.images), abs=6)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_other_edges_only_delay_the_end(data: st.DataObject) -> None:
    """Clique sizes that grow by at most one an image, at least the copies so far: given up only where the copies are few."""
    rule = Sequential(0.2, 0.05, 60, 4, data.draw(st.integers(1, 20)))
    copies = np.concatenate(
        [[0], np.cumsum(data.draw(st.lists(st.integers(0, 1), min_size=60, max_size=60)))]
    )
    other = np.concatenate([[0], np.cumsum(data.draw(st.lists(st.integers(0, 1), min_size=60, max_size=60)))])
    images, stop = walk(rule, np.maximum(copies, other))
    _, without = walk(rule, np.maximum(copies, np.minimum(np.arange(61), 1)))
    if stop == StopReason.HOPELESS:
        assert any(copies[m] <= size for size, m in enumerate(rule.boundary.stops, 1) if m <= images)
        assert without == StopReason.HOPELESS or copies[-1] >= 4 or without == StopReason.IMPOSSIBLE
    if without == StopReason.FOUND:
        assert stop == StopReason.FOUND


def test_unproven_cliques_are_neither_found_nor_given_up() -> None:
    rule = Sequential(0.10, 0.01)
    assert rule.decide(256, lambda: (5, 12)).stop is None
    assert rule.decide(256, lambda: (5, 9)).stop is StopReason.HOPELESS
    assert rule.decide(256, lambda: (10, 40)).stop is StopReason.FOUND
    assert rule.decide(500, lambda: (5, 12)).stop is StopReason.ALL
    assert rule.decide(490, lambda: (5, 5)).stop is StopReason.HOPELESS
    assert Sequential(0.01, 0.01).decide(496, lambda: (5, 5)).stop is StopReason.IMPOSSIBLE
    assert Sequential(0.01, 0.01).decide(496, lambda: (5, 6)).stop is None
    assert isinstance(rule, Budget)


def test_largest_clique_of_a_growing_graph() -> None:
    graph = PromptGraph((8, 8, 3), 0.1, min_clique=3)
    assert graph.largest_clique() == (0, 0)
    far = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    graph.extend(np.zeros((1, 8, 8, 3), np.uint8), exclude=np.array([True]))
    assert graph.largest_clique() == (0, 0)
    graph.extend(far)
    assert graph.largest_clique() == (1, 1)
    graph.extend(far[:2])
    assert graph.largest_clique() == (2, 2)
    graph.extend(far[:1])
    assert graph.largest_clique() == (3, 3)


def run(path: Path, sampler: SyntheticSampler | None = None, **changes: Any) -> RunFolder:
    options: dict[str, Any] = {
        "source": "custom",
        "generations": 200,
        "budget": "sequential",
        "copy_rate": 0.2,
        "batch_size": 32,
        "shard_prompts": 6,
    }
    config = Config(**{**options, **changes})
    return audit(path, config, sampler=sampler or RatedSampler(), prompts=list(COPY_RATES), quiet=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run(tmp_path_factory.mktemp("budget") / "run")


def test_a_run_stops_prompts_and_says_why(undisturbed: RunFolder, tmp_path: Path) -> None:
    fixed = run(tmp_path / "fixed", budget="fixed")
    rows, whole = undisturbed.findings(), fixed.findings()
    assert {r["stop"] for r in whole} == {"all"}
    assert {r["generated"] for r in whole} == {200}
    assert [r["status"] for r in rows] == [r["status"] for r in whole]
    first = Sequential(0.2, 0.01, 200).boundary.stops[0]
    for row in rows:
        rate = COPY_RATES[row["prompt"]]
        assert row["stop"] == ("found" if rate >= 0.2 else "hopeless")
        if rate == 0:
            assert row["generated"] == first
        if rate == 1:
            assert row["generated"] == 16
        if row["stop"] == "found":
            assert 10 <= row["size"] <= 26
    told = undisturbed.meta["budget"]
    assert (told["rule"], told["copy_rate"], told["miss_rate"], told["stops"][0]) == (
        "sequential",
        0.2,
        0.01,
        first,
    )


@pytest.mark.parametrize("batch_size", [1, 7, 16, 1000])
def test_same_findings_with_another_batch_size(
    undisturbed: RunFolder, tmp_path: Path, batch_size: int
) -> None:
    other = run(tmp_path / "run", batch_size=batch_size)
    assert findings_bytes(other) == findings_bytes(undisturbed)
    assert image_digest(other) == image_digest(undisturbed)


@pytest.mark.parametrize("workers", [2, 3])
def test_same_findings_with_more_workers(undisturbed: RunFolder, tmp_path: Path, workers: int) -> None:
    options = {**undisturbed.config.as_dict(), "sampler": "tests.support.samplers:RatedSampler"}
    folder = audit(
        tmp_path / "run",
        Config(**options),
        prompts=list(COPY_RATES),
        workers=workers,
        threads=1,
        quiet=True,
    )
    assert findings_bytes(folder) == findings_bytes(undisturbed)


@pytest.mark.parametrize("most", [1, 5, 10])
def test_same_findings_after_an_interruption(undisturbed: RunFolder, tmp_path: Path, most: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", RatedSampler(most))
    resumed = run(tmp_path / "run")
    assert findings_bytes(resumed) == findings_bytes(undisturbed)
    assert image_digest(resumed) == image_digest(undisturbed)


def test_batches_stay_full_although_prompts_stop_early(tmp_path: Path) -> None:
    sampler = RatedSampler()
    folder = run(tmp_path / "run", sampler, batch_size=16, shard_prompts=12)
    generated = sum(r["generated"] for r in folder.findings())
    assert sampler.batches.pop(1) == 1  # the first request of a run is sampled twice, to compare
    assert sum(sampler.batches) == generated
    assert len(sampler.batches) <= -(-generated // 16) + 3
    assert set(sampler.batches[:-4]) == {16}


def test_a_failing_prompt_leaves_the_others_alone(undisturbed: RunFolder, tmp_path: Path) -> None:
    sampler = RatedSampler()
    sampler.fail = "prompt 2"
    rows = run(tmp_path / "run", sampler).findings()
    assert (rows[2]["status"], rows[2]["stop"]) == ("failed", None)
    rest = [r for r in rows if r["prompt_id"] != 2]
    assert rest == [r for r in undisturbed.findings() if r["prompt_id"] != 2]


def test_the_budget_is_part_of_the_digest(undisturbed: RunFolder) -> None:
    with pytest.raises(ConfigError, match=r"miss_rate: 0\.01 -> 0\.02"):
        run(undisturbed.path, miss_rate=0.02)
    fixed = Config(source="custom")
    assert fixed.digest("f", "p") == Config(source="custom", copy_rate=0.3).digest("f", "p")
    sequential = Config(source="custom", budget="sequential")
    assert fixed.digest("f", "p") != sequential.digest("f", "p")


WRONG: list[tuple[dict[str, Any], type[MemcoreError], str]] = [
    ({"copy_rate": 0}, ArgumentValueError, "copy_rate must lie between 0 and 1, both left out, got 0"),
    (
        {"copy_rate": float("nan")},
        ArgumentValueError,
        "copy_rate must lie between 0 and 1, both left out, got nan",
    ),
    ({"miss_rate": 1.0}, ArgumentValueError, "miss_rate must lie between 0 and 1, both left out, got 1.0"),
    ({"miss_rate": "1%"}, ArgumentTypeError, "miss_rate must be a number between 0 and 1, got str"),
    ({"generations": 0}, ArgumentValueError, "generations must be >= 1, got 0"),
    ({"min_clique": 1}, ArgumentValueError, "min_clique must be >= 2, got 1"),
    ({"look_every": 0}, ArgumentValueError, "look_every must be >= 1, got 0"),
]


@pytest.mark.parametrize(("changes", "error", "text"), WRONG)
def test_wrong_arguments(changes: dict[str, Any], error: type[MemcoreError], text: str) -> None:
    with pytest.raises(error) as caught:
        Sequential(**{"copy_rate": 0.1, "miss_rate": 0.01, **changes})
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"source": "custom", "budget": "clever"}, "budget must be one of fixed, sequential, got 'clever'"),
        ({"source": "custom", "copy_rate": 2}, "copy_rate must lie between 0 and 1, both left out, got 2.0"),
        ({"source": "stored", "images": "x", "budget": "sequential"}, "stored images exist already"),
    ],
)
def test_wrong_configuration(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping(values)
    assert text in str(caught.value)


def test_interleave_goes_through_many_prompts_without_a_gap() -> None:
    """A thousand hopeless prompts: every batch but the last few is full."""
    batches = interleave(((i, "x") for i in range(1000)), Sequential(0.1, 0.01), 64, run_seed=0)
    sizes = []
    for batch in batches:
        sizes.append(len(batch))
        for prompt_id in batches.due():
            batches.decide(prompt_id, lambda: (1, 1))
    assert sum(sizes) == 64 * 1000
    assert set(sizes[:-5]) == {64}
