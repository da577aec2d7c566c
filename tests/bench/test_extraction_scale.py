"""The measurement of extraction at a small size: its answer is asserted before a figure is printed."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "extraction_scale.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("extraction_scale", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--samples", "640", "--training", "300", "--threads", "1"])
    return module


def test_a_small_size(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main() == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["samples"], record["training"], record["held_out"], record["k"]) == (640, 300, 300, 50)
    assert 5 < record["found"] <= 10, "ten copies, of some images twice"
    assert record["times_the_product"] > 0
    assert record["peak_bytes"] > 0


def test_a_wrong_answer_gives_no_figure(
    script: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two sets in each other's place."""
    honest = script.extract
    monkeypatch.setattr(script, "extract", lambda s, train, held, **how: honest(s, held, train, **how))
    with pytest.raises(AssertionError):
        script.main()
    assert not capsys.readouterr().out
