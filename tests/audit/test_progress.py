"""What an audit counts as made, kept and spared adds up, whatever ends its prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memcore.audit import audit, task
from memcore.commands._answer import Answer
from memcore.errors import SamplerError
from memcore.runs.config import Config
from memcore.system import atomic_files
from memcore.system.progress import Progress
from tests.support.faulty_disk import QuickDisk
from tests.support.run_files import config
from tests.support.synthetic import PROMPTS, SyntheticSampler

SEQUENTIAL = {"budget": "sequential", "copy_rate": 0.3, "miss_rate": 0.05}


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic_files, "disk", QuickDisk())


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Progress]:
    """The progress display of each run, in order."""
    made: list[Progress] = []

    class Recorded(Progress):
        def __init__(self, *values: Any, **named: Any) -> None:
            super().__init__(*values, **named)
            made.append(self)

    monkeypatch.setattr(task, "Progress", Recorded)
    return made


class Interrupted(SyntheticSampler):
    """Stops the run at its call number ``most``."""

    def __init__(self, most: int, fail: str = "") -> None:
        super().__init__(fail)
        self.most = most

    def sample(self, requests: Any) -> Any:
        if len(self.batches) >= self.most:
            raise KeyboardInterrupt
        return super().sample(requests)


@pytest.mark.parametrize("fail", ["", "a door"])
@pytest.mark.parametrize(
    "changes", [{}, SEQUENTIAL, {"shard_prompts": 7}], ids=["fixed", "sequential", "one-shard"]
)
def test_all_that_is_counted_was_made(
    tmp_path: Path, shown: list[Progress], fail: str, changes: dict[str, Any]
) -> None:
    """N-W11: "2000 of 2000 images" of a sequential run that made 568; the same after failures and a resumption."""
    options = config(**changes)
    whole = audit(tmp_path / "whole", options, sampler=SyntheticSampler(fail), prompts=PROMPTS, quiet=True)
    made = sum(row["generated"] for row in whole.findings())
    assert (shown[0].count, shown[0].total, shown[0].made) == (made, made, made)
    with pytest.raises(KeyboardInterrupt):
        audit(tmp_path / "cut", options, sampler=Interrupted(5, fail), prompts=PROMPTS, quiet=True)
    assert 0 < shown[1].count == shown[1].made < shown[1].total
    audit(tmp_path / "cut", options, sampler=SyntheticSampler(fail), prompts=PROMPTS, quiet=True)
    assert (shown[2].count, shown[2].total) == (made, made)
    assert shown[2].made < made, "what the first command made is not made again"


class FailsOnce(SyntheticSampler):
    """Its first shard fails outside of ``sample``, once, after images of its first prompt were looked at."""

    tries = 0

    def check_prompt(self, prompt: str) -> str:
        self.tries += 1
        if self.tries == 2:
            raise RuntimeError("lost the GPU")
        return ""


def test_a_shard_that_is_tried_again_is_counted_once(tmp_path: Path, shown: list[Progress]) -> None:
    folder = audit(tmp_path / "run", config(), sampler=FailsOnce(), prompts=PROMPTS, quiet=True)
    made = sum(row["generated"] for row in folder.findings())
    assert not folder.given_up()
    assert not folder.quarantine(), "images of the first try were taken for repeated ones"
    assert (shown[0].count, shown[0].total) == (made, made)


def test_the_first_cause_is_on_the_output_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """N-X7: "4 prompts failed", and not a word why."""
    from argparse import Namespace

    from memcore.commands.audit import answer_about
    from memcore.runs.status import status, status_lines

    class Refusing(SyntheticSampler):
        def sample(self, requests: Any) -> Any:
            for request in requests:
                if request.prompt in ("two boats", "rain"):
                    raise SamplerError(f"HTTP 400: {request.prompt} is not allowed")
            return super().sample(requests)

    options = Config(source="custom", generations=12, min_clique=4)
    folder = audit(tmp_path / "run", options, sampler=Refusing(), prompts=PROMPTS, quiet=True)
    answer: Answer = answer_about(Namespace(allow_incomplete=False), folder)
    said = "the first failure: prompt 2 (sampler): HTTP 400: two boats is not allowed"
    assert f"{said} (--retry-failed does failed prompts again)" in answer.lines
    assert answer.value["first_failure"] == {
        "prompt_id": 2,
        "reason": "sampler",
        "cause": "HTTP 400: two boats is not allowed",
    }
    assert said in status_lines(status(folder))
    good = audit(tmp_path / "good", options, sampler=SyntheticSampler(), prompts=PROMPTS[:2], quiet=True)
    assert answer_about(Namespace(allow_incomplete=True), good).value["first_failure"] is None
