"""How many planted captions an audit finds in a trained cascade or unCLIP, with three sets of seeds.

    memcore study train FOLDER --model cascade
    python benchmarks/planted_model_figures.py cascade FOLDER

Every set of seeds is an audit at the default thresholds. Of a cascade the first stage's images are kept when they are
enlarged, and audited too, against training images of their size: what is found there was copied before it was enlarged.
Prints Markdown; exits with 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from memcore.audit import audit
from memcore.evaluation.score import clopper_pearson
from memcore.matching.match_run import match_run
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder
from memcore.sampling import CallableSampler
from memcore.sampling.diffusers import DiffusersSampler
from memcore.sampling.diffusers.cascade import CascadeSampler
from memcore.study.planted.cascade import NOISE_LEVEL
from memcore.study.planted.data import SMALL
from memcore.types import Images, Request

STEPS, SECOND_STEPS, GUIDANCE, BATCH = 10, 2, 1.0, 16
PRECISION, RECALL = 1.0, 0.9
SMALL_IMAGES = f"train_{SMALL}.npz"


class KeepingSampler(CascadeSampler):
    """A cascade that keeps the first stage's images, by prompt and seed."""

    small: dict[tuple[str, int], Any]

    def sample(self, requests: Sequence[Request]) -> Images:
        """Return the second stage's images."""
        if self._pipe.kept is not None:  # asked by sample_stages
            return super().sample(requests)
        images, small = self.sample_stages(requests)
        self.small |= {(r.prompt, r.seed): image for r, image in zip(requests, small, strict=True)}
        return images


def audits(kind: str, folder: Path) -> Iterator[tuple[str, Any, str]]:
    """Yield what is audited, each with the training images of its size; a cascade's first stage comes after both."""
    common: dict[str, Any] = {"steps": STEPS, "guidance_scale": GUIDANCE, "batch_size": BATCH}
    if kind == "unclip":
        fewer = {"super_res_num_inference_steps": SECOND_STEPS}
        sampler = DiffusersSampler.load(str(folder / "model"), call_options=fewer, **common)
        yield "unCLIP", sampler, "train.npz"
        return
    stages = (str(folder / "stage_1"), str(folder / "stage_2"))
    both = KeepingSampler(*stages, super_res_steps=SECOND_STEPS, noise_level=NOISE_LEVEL, **common)
    both.small = {}

    def kept(prompts: Sequence[str], seeds: Sequence[int]) -> Any:
        return np.stack([both.small[key] for key in zip(prompts, seeds, strict=True)])

    yield "both stages", both, "train.npz"
    first = CallableSampler(kept, (SMALL, SMALL, 3), f"small-{both.fingerprint}", seed_bits=both.seed_bits)
    yield "what stage I had made of these", first, SMALL_IMAGES


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit, and print a row for each sampler and set of seeds."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("kind", choices=("cascade", "unclip"))
    parser.add_argument("folder", type=Path, help="what memcore study train made")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the runs (default: 0 1 2)"
    )
    parser.add_argument("--generations", type=int, default=64, help="images a caption (default: %(default)s)")
    parser.add_argument(
        "--others",
        type=int,
        default=33,
        help="captions without copies, spread over all (default: %(default)s)",
    )
    parser.add_argument("--runs", type=Path, help="folder in which the runs are kept (default: they are not)")
    given = parser.parse_args(arguments)
    entries = json.loads((given.folder / "truth.json").read_text(encoding="utf-8"))["prompts"]
    planted = [entry["prompt"] for entry in entries if entry["expected"]]
    single = [entry["prompt"] for entry in entries if not entry["expected"]]
    others = [single[i * len(single) // given.others] for i in range(given.others)]
    expected = dict.fromkeys(planted, True) | dict.fromkeys(others, False)
    missed = False
    print("| audited | seeds | planted found (95 %) | copied, of these | others flagged (95 %) | s |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        place = given.runs or Path(temporary)
        for seed in given.seeds:
            for number, (name, sampler, training) in enumerate(audits(given.kind, given.folder)):
                started = time.monotonic()
                config = Config(source="custom", generations=given.generations, seed=seed)
                run = audit(
                    place / f"{given.kind}-{seed}-{number}",
                    config,
                    sampler=sampler,
                    prompts=list(expected),
                    quiet=True,
                )
                row, missing = judge(run, expected, given.folder / training)
                print(f"| {name} | {seed} | {row} | {time.monotonic() - started:.0f} |", flush=True)
                missed |= missing
    print("a target is missed" if missed else "all targets hold", file=sys.stderr)
    return int(missed)


def judge(run: RunFolder, expected: Mapping[str, bool], training: Path) -> tuple[str, bool]:
    """Return a row's figures, and whether a target is missed. A copy is one of a training image, whichever."""
    flagged = {row["prompt"]: row["status"] == "finding" for row in run.findings()}
    prompts = {row["prompt_id"]: row["prompt"] for row in run.findings()}
    matches = match_run(run.path, training, metric="tiled_l2")
    copied = {prompts[row["prompt_id"]] for row in matches if row["extracted"]}
    found = [flagged[prompt] for prompt, planted in expected.items() if planted]
    wrong = [flagged[prompt] for prompt, planted in expected.items() if not planted]
    right = sum(expected[prompt] for prompt in copied)
    missed = sum(found) < RECALL * len(found) or sum(found) < PRECISION * (sum(found) + sum(wrong))
    return f"{share(found)} | {right} of {sum(found)} | {share(wrong)}", missed


def share(found: Sequence[bool]) -> str:
    """Return how many of how many, with the interval of Clopper and Pearson."""
    low, high = clopper_pearson(sum(found), len(found))
    return f"{sum(found)} of {len(found)} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    sys.exit(main())
