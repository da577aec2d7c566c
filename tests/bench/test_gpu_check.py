"""``make gpu-check``: what it says without a device, and the page that is written from a record."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memcore.backends import gpu, reference

pytest.importorskip("triton")
torch = pytest.importorskip("torch")

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks" / "gpu_check"
NO_GPU = not gpu.available()[0]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The check's modules, which import each other as scripts of one folder do."""
    monkeypatch.setenv("MEMCORE_CHECK_DEVICE", "cpu")
    monkeypatch.syspath_prepend(str(FOLDER))
    names = ("results", "parts", "page", "checks", "timing", "whole_path")
    yield importlib.import_module
    for name in names:
        sys.modules.pop(name, None)


@pytest.mark.skipif(not NO_GPU, reason="there is a device: make gpu-check runs on it")
def test_without_a_device_it_says_what_it_would_do(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER), "--out", str(tmp_path), "--but", "ncu"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "torch finds no CUDA device" in done.stdout
    assert "check-dense" in done.stdout
    assert "ncu" not in done.stdout
    assert done.stdout.strip().endswith("0 parts run")
    record = json.loads((tmp_path / "record.json").read_text())
    assert (record["device"], record["parts"]) == (None, [])
    assert record["torch"] == torch.__version__
    wrong = subprocess.run([*command, "--only", "ncc"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert "a part must be one of check-dense" in wrong.stderr


def test_the_page_in_the_documentation_is_what_the_script_writes(module: Any) -> None:
    page = module("page")
    text = (ROOT / "docs" / "gpu.md").read_text()
    assert "There is no record" not in text or text == page.write(None)


def test_a_page_tells_what_failed(module: Any) -> None:
    cases = [
        {"kind": "check", "name": "dense: small", "ok": False, "why": "AssertionError: 1 of 9 differ"},
        {"kind": "time", "name": "dense 1 x 500", "ok": True, "ms": 0.25, "share": 0.4, "seconds": 1},
        {"kind": "time", "name": "knn", "ok": None, "why": "no time was left"},
    ]
    part = {"name": "check-dense", "what": "distances", "ok": True, "ended": "in time", "cases": cases}
    record = {
        **dict.fromkeys(("driver", "processor", "torch", "triton", "cuda", "python", "when", "cliques"), "x"),
        "device": "a device",
        "commit": "0123456789abcdef",
        "changed": True,
        "parts": [part, {**part, "name": "ncu", "ok": None, "ended": "ncu is not on PATH", "cases": []}],
    }
    text = module("page").write(record)
    assert "| check-dense | distances | **failed** | in time | 1 of 3 |" in text
    assert "| ncu | distances | not run | ncu is not on PATH | 0 of 0 |" in text
    assert "- dense: small: AssertionError: 1 of 9 differ" in text
    assert "| dense 1 x 500 | 0.25 | 0.4 |" in text
    assert "changes that were not committed" in text


def test_its_reference_is_the_oracle(module: Any) -> None:
    results = module("results")
    images = results.with_copies(3, 12, (8, 12, 3), 5)
    other = results.random_images(4, 3, 8, 12, 3)
    for second in (None, other):
        arrays = [None if x is None else x[None].numpy() for x in (images, second)]
        expected = reference.tiled_l2_ssd(*arrays, (4, 6))[0].astype(np.int64)
        assert results.exact_ssd(images, (4, 6), second).tolist() == expected.tolist()
    changed = images.clone()
    changed[2, 0, 0, 0] ^= 1
    with pytest.raises(AssertionError, match=r"bytes: 1 of 3456 differ, first at \(2, 0, 0, 0\)"):
        results.require_same(changed, images, "bytes")


def test_a_case_that_fails_is_a_line_and_not_the_end(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = module("results")
    monkeypatch.setenv("MEMCORE_CHECK_LINES", str(tmp_path / "lines"))
    results.case("check", "one", lambda: {"images": 3})
    results.case("check", "two", lambda: {"images": 1 // 0})
    monkeypatch.setattr(results, "_ROOM", -1.0)
    results.case("check", "three", dict)
    lines = [json.loads(line) for line in (tmp_path / "lines").read_text().splitlines()]
    assert [line["ok"] for line in lines] == [True, False, None]
    assert "ZeroDivisionError" in lines[1]["why"]


def test_every_part_is_a_command_that_exists(module: Any) -> None:
    parts = module("parts").parts()
    assert len({part.name for part in parts}) == len(parts)
    checks = module("checks")
    for part in parts:
        scripts = [Path(word) for word in part.command if word.startswith(str(FOLDER))]
        assert all(script.exists() for script in scripts)
        if part.name.startswith("check-"):
            assert part.command[-1] in checks.GROUPS
    # Those that only check run side by side, four at a time: two visits of 280 seconds have room for all.
    shared = sum(part.seconds for part in parts if part.shared) / 4
    assert shared + sum(part.seconds for part in parts if not part.shared) <= 2 * 280
