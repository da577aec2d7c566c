"""A small, real text-to-image pipeline that memorises what was planted: data, training, one folder for all.

``python -m memcore.study.tiny_sd train --out FOLDER`` makes what is bundled as ``memcore/demo_data``;
docs/study.md says what to expect of it. Training has a fixed number of steps, fixed seeds and one thread, so that
the same command gives the same bytes on the same machine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from memcore.study import dataset
from memcore.study.autoencoder import train_autoencoder
from memcore.study.diffusion import train_diffusion
from memcore.study.emoji import fetch_art, load_art, save_art
from memcore.study.tokenizer import save_vocabulary, train_tokenizer
from memcore.system.console import write_error

AUTOENCODER_STEPS = 10000
DIFFUSION_STEPS = 5000
SEED = 0


def build(
    out: Path,
    *,
    steps: int = DIFFUSION_STEPS,
    autoencoder_steps: int = AUTOENCODER_STEPS,
    seed: int = SEED,
    art: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Make the content of ``out``: model/, train.npz, train.json, truth.json and prompts.txt.

    ``steps`` of 16 images each train the diffusion model, ``autoencoder_steps`` the autoencoder before it.
    ``art`` is a sheet written by ``data --from-npm``; by default the bundled one. An existing ``out/model``
    is replaced.
    """
    say = progress or (lambda text: None)
    training = dataset.build_training_set(load_art(art))
    dataset.save(training, out)
    say(f"data: {len(training.items)} unique images, {len(training.entries())} with their copies")
    with reproducible():
        autoencoder = train_autoencoder(training.images, autoencoder_steps, seed, say)
        tokenizer = train_tokenizer(training.captions())
        pipeline = train_diffusion(training, autoencoder, tokenizer, steps, seed + 1, say)
    save_pipeline(pipeline, training.captions(), out / "model")
    say(f"saved {folder_bytes(out / 'model'):,} bytes in {out / 'model'}")


def save_pipeline(pipeline: StableDiffusionPipeline, captions: Sequence[str], folder: Path) -> None:
    """Save in float16 safetensors, with the vocabulary in the format of transformers 4 and of 5."""
    save_half(pipeline, folder)
    save_vocabulary(captions, folder / "tokenizer")


def save_half(pipeline: Any, folder: Path) -> None:
    """Save a pipeline in float16 safetensors, in place of what the folder held."""
    if folder.exists():
        shutil.rmtree(folder)
    pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True)
    # transformers loads the dtype noted here, diffusers float32: otherwise the parts would have different dtypes.
    file = folder / "text_encoder" / "config.json"
    if file.exists():
        config = json.loads(file.read_text(encoding="utf-8"))
        config["dtype"] = config["torch_dtype"] = "float32"
        file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def folder_bytes(folder: Path) -> int:
    """Return the size of all files below the folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@contextmanager
def reproducible() -> Iterator[None]:
    """Compute on one thread, whose sums have one order; restore the caller's threads and random state."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line: ``data`` writes the training set, ``train`` the model too."""
    options = _parser().parse_args(arguments)
    if options.command == "data":
        art = fetch_art() if options.from_npm else load_art()
        if options.from_npm:
            save_art(art, options.out / "art.webp")
        dataset.save(dataset.build_training_set(art), options.out)
        return 0
    start = time.monotonic()

    def say(text: str) -> None:
        write_error(f"{time.monotonic() - start:6.0f} s  {text}")

    build(
        options.out,
        steps=options.steps,
        autoencoder_steps=options.autoencoder_steps,
        seed=options.seed,
        art=options.art,
        progress=say,
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    summary = (__doc__ or "").split("\n\n")[0]
    parser = argparse.ArgumentParser(prog="python -m memcore.study.tiny_sd", description=summary)
    commands = parser.add_subparsers(dest="command", required=True)
    data = commands.add_parser("data", help="write train.npz, train.json, truth.json and prompts.txt")
    data.add_argument("--from-npm", action="store_true", help="download the emoji; write art.webp too")
    train = commands.add_parser("train", help="write the data, train, and save the pipeline in OUT/model")
    for command in (data, train):
        command.add_argument("--out", type=Path, required=True, help="folder to write into")
    add = partial(train.add_argument, type=int)
    add("--steps", default=DIFFUSION_STEPS, help="of 16 images (default: %(default)s)")
    add("--autoencoder-steps", default=AUTOENCODER_STEPS, help="before these (default: %(default)s)")
    add("--seed", default=SEED, help="of weights, noise and order (default: %(default)s)")
    train.add_argument("--art", type=Path, help="a sheet made by data --from-npm (default: the bundled one)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
