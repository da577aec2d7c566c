"""truth.json is read whole or refused with what is wrong; intervals are those of the exact binomial test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memcore.errors import ConfigError
from memcore.evaluation.score import clopper_pearson
from memcore.evaluation.truth import check_truth, read_truth

ENTRY: dict[str, Any] = {"prompt": "a", "copies": 3, "expected": True, "training_images": [1]}


def test_entries_come_in_the_order_of_the_prompts(tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"format": 1, "prompts": [ENTRY, {**ENTRY, "prompt": "b"}]}))
    assert [entry["prompt"] for entry in read_truth(path, ["b", "a", "b"])] == ["b", "a", "b"]


@pytest.mark.parametrize(
    ("truth", "said"),
    [
        ([], 'truth must be JSON with "format": 1 and a list "prompts"'),
        ({"format": 2, "prompts": []}, 'truth must be JSON with "format": 1'),
        ({"format": 1, "prompts": [7]}, "truth must have an object for each prompt, got 7"),
        ({"format": 1, "prompts": [{}]}, "truth has an entry without 'prompt'"),
        ({"format": 1, "prompts": [{"prompt": "a", "expected": None}]}, "without 'copies'"),
        ({"format": 1, "prompts": [{**ENTRY, "expected": "yes"}]}, "expected must be true, false or null"),
        ({"format": 1, "prompts": [{**ENTRY, "prompt": ["a"]}]}, "prompt must be text"),
        ({"format": 1, "prompts": [{**ENTRY, "copies": "many"}]}, "copies a number"),
        ({"format": 1, "prompts": [{**ENTRY, "copies": float("nan")}]}, "it.copies is nan"),
        ({"format": 1, "prompts": [{**ENTRY, "copies": -1}]}, "it.copies is -1, not a count"),
        ({"format": 1, "prompts": [{**ENTRY, "copies": 10**400}]}, "it.copies is 1000"),
        ({"format": 1, "prompts": [{**ENTRY, "training_images": 5}]}, "it.training_images is 5, not a list"),
        ({"format": 1, "prompts": [ENTRY]}, "truth lacks 1 of the run's prompts, the first is 'b'"),
    ],
)
def test_a_malformed_truth_is_refused(truth: Any, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_truth(truth, ["a", "b"])
    assert said in str(error.value)


@pytest.mark.parametrize("content", [b"\xff", b"{", b"[" * 100_000], ids=["bytes", "json", "deep"])
def test_a_file_that_is_no_truth_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "truth.json").write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_truth(tmp_path / "truth.json", [])


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_intervals_are_those_of_the_binomial_test(counts: tuple[int, int]) -> None:
    binomtest = pytest.importorskip("scipy.stats", reason="scipy is not installed").binomtest
    exact = binomtest(*counts).proportion_ci(confidence_level=0.95, method="exact")
    assert clopper_pearson(*counts) == pytest.approx((exact.low, exact.high), abs=1e-12)
