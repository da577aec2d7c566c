"""The protocol quick runs whole, as a user starts it, and its findings point where ten seeds of it pointed.

Values depend on the processor, directions do not: the mean of the two seeds must lie beyond a margin that no mean of two of
the ten recorded seeds crossed. What did not point one way in all of these is only asserted not to point far the other way.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (extra models)")
pytest.importorskip("diffusers", reason="diffusers is not installed (extra models)")

from memcore.study.findings import judge_study
from memcore.study.findings.reading import Study
from memcore.study.folder import StudyFolder
from memcore.study.status import study_status

SITE = Path(__file__).parents[2] / "docs" / "site"


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("quick_margins", SITE / "quick_margins.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def recorded() -> dict[str, dict[str, list[float]]]:
    record: dict[str, Any] = json.loads(script().RECORD.read_text())
    assert record["protocol"] == script().protocol_digest(), "quick.toml was changed: run its ten seeds again"
    values: dict[str, dict[str, list[float]]] = record["values"]
    return values


#: What no mean of two of the ten seeds contradicted. The others are too small in models of a few seconds.
ONE_WAY = {
    ("a", "duplicates against single images"),
    ("a", "dose and response"),
    ("b", "smaller sets"),
    ("b", "longer training"),
    ("c", "along checkpoints"),
    ("e", "samples that are copies"),
    ("g", "members have the lower loss"),
    ("g", "LiRA against the threshold"),
    ("i", "members against others"),
}


def means_of_two(values: list[float]) -> list[float]:
    return [(a + b) / 2 for a, b in itertools.combinations(values, 2)]


def margin(values: list[float]) -> float:
    """A spread below the lowest mean of two seeds; not below 0 where these point one way: less would be no direction."""
    means = means_of_two(values)
    below = min(means) - float(np.std(means, ddof=1))
    return max(0.0, below) if min(means) > 0 else below


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quick") / "study"
    for action in (["run", "quick", folder, "--quiet"], ["report", folder]):
        command = [sys.executable, "-m", "memcore", "study", *map(str, action)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=3000)
        assert done.returncode == 0, done.stderr
    return folder


def test_ten_seeds_point_one_way() -> None:
    parts = {(letter, part): found for letter, named in recorded().items() for part, found in named.items()}
    assert {len(found) for found in parts.values()} == {10}
    assert {name for name, found in parts.items() if min(means_of_two(found)) > 0} == ONE_WAY
    assert {letter for letter, _ in parts} == set("abcegi")


def test_the_findings_lie_beyond_the_margins(study: Path) -> None:
    assert study_status(StudyFolder.open(study))["models_failed"] == 0
    measured = script().values_of(str(study))
    known = recorded()
    assert set(measured) == set(known)
    for letter, parts in known.items():
        assert set(measured[letter]) == set(parts)
        for part, ten in parts.items():
            (found,) = means_of_two(measured[letter][part])
            assert found > margin(ten), (letter, part, found, margin(ten))


def test_the_controls_are_quiet_and_two_seeds_show_nothing(study: Path) -> None:
    findings = judge_study(Study.of(StudyFolder.open(study)))
    held_out = [c for f in findings for c in f.measured.controls if "held-out set" in c.name]
    assert len(held_out) >= 4
    assert all(c.n > 0 and c.value is not None and c.value < 0.05 for c in held_out)
    assert (study / "report" / "index.html").stat().st_size > 10_000
