"""Train a planted model and save it with what it was trained on: one folder for all."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path

import numpy as np
from diffusers import IFSuperResolutionPipeline

from memcore.errors import ConfigError
from memcore.sampling.diffusers.loading import load_pipeline
from memcore.study import dataset
from memcore.study.dataset import TrainingSet
from memcore.study.planted import cascade, unclip
from memcore.study.planted.data import SMALL, planted_set, shrink
from memcore.study.planted.recipe import StageRecipe
from memcore.study.tiny_sd import folder_bytes, reproducible, save_half
from memcore.system.parsing import parse_json

SEED = 0


def build(
    kind: str,
    out: Path,
    *,
    seed: int = SEED,
    steps: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Make the content of ``out``: the model of ``KINDS``, train.npz, train.json, truth.json, prompts.txt and NOTICE.md.

    A cascade is ``stage_1/`` and ``stage_2/``, and train_16.npz has the training images at the first stage's size; unCLIP is
    ``model/``. ``steps`` replaces the number of steps of every part, for a short try. The same arguments give the same bytes
    on the same machine. Raises ConfigError for another kind.
    """
    if kind not in KINDS:
        raise ConfigError(f"kind must be {' or '.join(KINDS)}, got {kind!r}")
    training = planted_set()
    dataset.save(training, out)
    say(f"data: {len(training.items)} unique images, {len(training.entries())} with their copies")
    with reproducible():
        KINDS[kind](training, out, seed, steps, say)
    shutil.copyfile(str(files("memcore") / "demo_data" / "NOTICE.md"), out / "NOTICE.md")
    for folder in ("stage_1", "stage_2", "model"):
        if (out / folder).is_dir():
            say(f"saved {folder_bytes(out / folder):,} bytes in {out / folder}")


def _cascade(
    training: TrainingSet, out: Path, seed: int, steps: int | None, say: Callable[[str], None]
) -> None:
    np.savez_compressed(out / f"train_{SMALL}.npz", images=shrink(training.images))
    save_half(cascade.train_first(training, seed, say, _with(cascade.FIRST, steps)), out / "stage_1")
    # the text encoder as it will be used, in half precision: so the stages can also be trained one at a time
    first = load_pipeline(str(out / "stage_1"), dtype="float32", device="cpu")
    second = cascade.train_second(training, first, seed, say, _with(cascade.SECOND, steps))
    # as DeepFloyd IF is used: the second stage takes the first one's text encoder
    lone = IFSuperResolutionPipeline(
        **{**second.components, "text_encoder": None, "requires_safety_checker": False}
    )
    save_half(lone, out / "stage_2")


def _unclip(
    training: TrainingSet, out: Path, seed: int, steps: int | None, say: Callable[[str], None]
) -> None:
    pipe = unclip.train_unclip(
        training,
        seed,
        say,
        decoder=_with(unclip.DECODER, steps),
        upscaler=_with(unclip.UPSCALER, steps),
        last=_with(unclip.LAST, steps),
    )
    save_half(pipe, out / "model")
    index = out / "model" / "model_index.json"
    about = parse_json(index.read_bytes())
    about["text_proj"][0] = (
        "unclip"  # as published weights have it; diffusers may write a place where it does not look
    )
    index.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _with(recipe: StageRecipe, steps: int | None) -> StageRecipe:
    return recipe if steps is None else dataclasses.replace(recipe, steps=steps)


#: Each kind of model, and what trains and saves it.
KINDS: Mapping[str, Callable[[TrainingSet, Path, int, int | None, Callable[[str], None]], None]] = {
    "cascade": _cascade,
    "unclip": _unclip,
}
