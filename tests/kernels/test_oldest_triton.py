"""The oldest Triton that is supported: its machine code is recorded, without spills, and in the documentation."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

machine_code = importlib.import_module("memcore_kernels.proof.machine_code")
versions = importlib.import_module("memcore_kernels.proof.versions")

ROOT = Path(__file__).parents[2]
OLDEST = machine_code.recorded(ROOT / "tests" / "machine_code_oldest.jsonl")
NEWEST = [
    row
    for row in machine_code.recorded(ROOT / "tests" / "machine_code.jsonl")
    if row.architecture == "sm_90a"
]


def test_it_is_the_one_that_the_package_allows() -> None:
    allowed = re.search(r"triton>=([0-9.]+)", (ROOT / "pyproject.toml").read_text())
    compiled = re.search(r"^OLDEST_TRITON := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert allowed is not None
    assert compiled is not None
    assert compiled[1] == f"{allowed[1]}.0"


def test_it_compiles_every_configuration_without_a_spill() -> None:
    assert [(row.kernel, row.case) for row in OLDEST] == [(row.kernel, row.case) for row in NEWEST]
    for old, new in zip(OLDEST, NEWEST, strict=True):
        assert old.spills == old.stack_bytes == 0, old
        assert old.digest != new.digest, "recorded by the same Triton"
        assert old.registers <= 255
        assert bool(old.matrix_instructions) == bool(new.matrix_instructions), old
        assert (old.tma_copies > 0) == (new.tma_copies > 0), old


def test_the_documentation_has_its_table() -> None:
    text = (ROOT / "docs" / "kernels.md").read_text()
    table = text.partition(versions.TABLE_START)[2].partition(versions.TABLE_END)[0]
    assert table.strip() == versions.markdown(OLDEST, NEWEST)
