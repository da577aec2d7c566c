"""A matched run of many findings, and a browser for the module."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import FINDINGS, chromium
from tests.support.drawn import near_copies, picture
from tests.support.report_runs import RunWriter, finding_row


@pytest.fixture(scope="session")
def matched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 60 findings of 17 to 20 generations, with five training images each; prompts are numbered from the last rank."""
    path = tmp_path_factory.mktemp("annotate") / "run"
    writer = RunWriter(path)
    for number in range(FINDINGS):
        prompt_id = FINDINGS - 1 - number
        original = picture(number, 48)
        pictures = near_copies(original, 17 + number % 4, 0.02 + 0.001 * number, number)
        clique = writer.add_clique(prompt_id, pictures)
        writer.rows.append(finding_row(prompt_id, f"a picture of thing number {number}", [clique]))
        writer.add_match(prompt_id, clique, pictures, number, original, 1)
        for near in writer.matches[-1]["neighbors"]:
            if int(near["index"]) >= FINDINGS:
                writer.save_training(int(near["index"]), picture(int(near["index"]), 48))
    writer.write()
    return path


@pytest.fixture
def run(matched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(matched, tmp_path / "run", ignore=shutil.ignore_patterns("annotations*")))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started
