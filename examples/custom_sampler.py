"""Audits a function that makes images: here a stand-in that has memorised one picture out of three.

python examples/custom_sampler.py [FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memcore.audit import audit
from memcore.matching.match_run import match_run
from memcore.report import write_report
from memcore.runs.config import Config
from memcore.sampling import CallableSampler

PROMPTS = ["a lighthouse", "a bicycle", "a bowl of soup"]
TRAINING = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)


def my_model(prompts: list[str], seeds: list[int]) -> NDArray[np.uint8]:
    """Put your own model here: one uint8 image for each (prompt, seed), and nothing else decides it."""
    images = []
    for prompt, seed in zip(prompts, seeds, strict=True):
        rng = np.random.default_rng(seed)
        if prompt == "a lighthouse" and rng.random() < 0.6:
            images.append(np.clip(TRAINING[0] + rng.normal(0, 8, (64, 64, 3)), 0, 255).astype(np.uint8))
        else:
            images.append(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    return np.stack(images)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="memcore-"))
    sampler = CallableSampler(my_model, image_shape=(64, 64, 3), fingerprint="stand-in, version 1")
    config = Config(source="custom", generations=50)
    run = audit(folder / "run", config, sampler=sampler, prompts=PROMPTS)

    np.save(folder / "train.npy", TRAINING)
    for match in match_run(run.path, folder / "train.npy"):
        prompt = PROMPTS[match["prompt_id"]]
        verdict = "extracted" if match["extracted"] else "not a copy"
        print(
            f"{prompt}: clique of {match['size']}, l2 {match['l2']:.3f} to image {match['training_index']}, {verdict}"
        )
    print(write_report(run.path))


if __name__ == "__main__":
    main()
