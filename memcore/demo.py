"""The main job end to end on the bundled small diffusion model: two runs, matched, evaluated, and one page."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.audit import audit
from memcore.evaluation.evaluate_run import evaluate_run
from memcore.matching.match_run import match_run
from memcore.matching.metric import MetricName
from memcore.report import write_report
from memcore.runs.completeness import Gap, judge
from memcore.runs.config import Config
from memcore.runs.summary import summary

#: The setting that the bundled model was made for. Guidance 1.0 (none) is explicit: see TRAP_GUIDANCE.
STEPS = 10
GUIDANCE = 1.0
BATCH = 32
#: Tiled l2 is stricter than the paper's plain l2, and right for small pictures on flat backgrounds.
METRIC: MetricName = "tiled_l2"
#: The default guidance of Stable Diffusion pipelines makes this model repeat itself without copying: cliques that are
#: not extractions. These captions are ten times in the training set.
TRAP_GUIDANCE = 7.5
TRAP_PROMPTS = ("fox face", "watermelon", "doughnut", "trophy", "crown", "lady beetle", "teapot", "flamingo")


def demo(
    out: Path,
    *,
    train: bool = False,
    generations: int = 64,
    workers: int | None = None,
    threads: int | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Audit the small model and write ``out/run/report/index.html``; an interrupted demo is resumed.

    ``train`` first trains the model again, into ``out/model-data``; otherwise the bundled checkpoint is audited. Nothing
    is staged: only the evaluation reads what was planted.
    """
    say: Callable[[str], None] = (
        (lambda text: None) if quiet else (lambda text: print(text, file=sys.stderr, flush=True))
    )
    data = _data(out, train, say)
    config = Config(
        model=str(data / "model"),
        prompts=str(data / "prompts.txt"),
        generations=generations,
        steps=STEPS,
        guidance_scale=GUIDANCE,
        batch_size=BATCH,
        screen="noise_magnitude",  # with threshold 0: no prompt is left out, and the page shows its ROC
    )
    options: dict[str, Any] = {"workers": workers, "threads": threads, "quiet": quiet}
    say(f"1/5 audit: {generations} images a prompt, {STEPS} steps, no guidance")
    folder = audit(out / "run", config, **options)
    say("2/5 match with the training images")
    copies = _copies(data)
    match_run(folder.path, data / "train.npz", metric=METRIC, threads=threads, copies=copies)
    say("3/5 evaluate against what was planted")
    evaluation = evaluate_run(folder.path, data / "truth.json")
    say(f"4/5 the guidance trap: {len(TRAP_PROMPTS)} prompts at guidance {TRAP_GUIDANCE}")
    trapped = dataclasses.replace(config, guidance_scale=TRAP_GUIDANCE, prompts="", shard_prompts=2)
    trap = audit(out / "run-guidance", trapped, prompts=list(TRAP_PROMPTS), **options)
    match_run(trap.path, data / "train.npz", metric=METRIC, threads=threads, copies=copies)
    say("5/5 report")
    report = write_report(folder.path, compare=[trap.path])
    missing = [*judge(folder.storage, folder.meta).gaps]
    missing += [_of_trap(gap) for gap in judge(trap.storage, trap.meta).gaps]
    return {
        "summary": summary(folder),
        "evaluation": evaluation,
        "report": str(report),
        "not_decided": [gap.as_dict() for gap in missing],
    }


def _of_trap(gap: Gap) -> Gap:
    return dataclasses.replace(gap, what=f"at guidance {TRAP_GUIDANCE}: {gap.what}")


def _data(out: Path, train: bool, say: Callable[[str], None]) -> Path:
    """Return the folder with model, prompts, training images and truth: the bundled one, or one trained here."""
    if not train:
        from memcore.study.dataset import load_demo

        return load_demo().folder
    from memcore.study.tiny_sd import build

    data = out / "model-data"
    if not (data / "model" / "model_index.json").exists():
        build(data, progress=say)
    return data


def _copies(data: Path) -> NDArray[np.int64]:
    """Return how often the model saw each image of train.npz, which holds each once."""
    from memcore.study.dataset import load

    return np.array([item.copies for item in load(data).items], dtype=np.int64)
