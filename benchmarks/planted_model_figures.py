"""How many planted captions an audit finds in a trained cascade or unCLIP, with three sets of seeds.

    memcore study train FOLDER --model cascade
    python benchmarks/planted_model_figures.py cascade FOLDER

Every set of seeds is an audit at the default thresholds. A cascade is also audited by its first stage alone, with the same
seeds: what is found there was copied before it was enlarged. Prints Markdown; exits with 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memcore.audit import audit
from memcore.evaluation.score import clopper_pearson
from memcore.matching.match_run import match_run
from memcore.runs.config import Config

STEPS, GUIDANCE, BATCH = 10, 1.0, 16
PRECISION, RECALL = 1.0, 0.9


def samplers(kind: str, folder: Path) -> Mapping[str, tuple[Any, str]]:
    """Return what is audited, each with the training images of its size."""
    from memcore.sampling.diffusers import DiffusersSampler
    from memcore.sampling.diffusers.cascade import CascadeSampler

    options: dict[str, Any] = {"steps": STEPS, "guidance_scale": GUIDANCE, "batch_size": BATCH}
    if kind == "unclip":
        return {"unCLIP": (DiffusersSampler.load(str(folder / "model"), **options), "train.npz")}
    first, second = str(folder / "stage_1"), str(folder / "stage_2")
    return {
        "stage I alone": (DiffusersSampler.load(first, **options), "train_16.npz"),
        "both stages": (CascadeSampler(first, second, noise_level=100, **options), "train.npz"),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit, and print a row for each sampler, set of seeds and kind of caption."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("kind", choices=("cascade", "unclip"))
    parser.add_argument("folder", type=Path, help="what memcore study train made")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the runs (default: 0 1 2)"
    )
    parser.add_argument("--generations", type=int, default=64, help="images a caption (default: %(default)s)")
    given = parser.parse_args(arguments)
    entries = json.loads((given.folder / "truth.json").read_text(encoding="utf-8"))["prompts"]
    prompts = [entry["prompt"] for entry in entries]
    expected = [bool(entry["expected"]) for entry in entries]
    missed = False
    print("| audited | seeds | planted found (95 %) | copied, of these | others flagged (95 %) |")
    print("|---|---|---|---|---|")
    for name, (sampler, training) in samplers(given.kind, given.folder).items():
        for seed in given.seeds:
            with tempfile.TemporaryDirectory() as place:
                config = Config(source="custom", generations=given.generations, seed=seed)
                run = audit(Path(place) / "run", config, sampler=sampler, prompts=prompts, quiet=True)
                flagged = [row["status"] == "finding" for row in run.findings()]
                matches = match_run(run.path, given.folder / training, metric="tiled_l2")
                copied = {row["prompt_id"] for row in matches if row["extracted"]}
            found = [f for f, planted in zip(flagged, expected, strict=True) if planted]
            wrong = [f for f, planted in zip(flagged, expected, strict=True) if not planted]
            right = sum(i in copied for i, planted in enumerate(expected) if planted and flagged[i])
            print(
                f"| {name} | {seed} | {_share(found)} | {right} of {sum(found)} | {_share(wrong)} |",
                flush=True,
            )
            missed |= sum(found) < RECALL * len(found) or sum(flagged) * PRECISION > sum(found)
    print("a target is missed" if missed else "all targets hold", file=sys.stderr)
    return int(missed)


def _share(found: Sequence[bool]) -> str:
    low, high = clopper_pearson(sum(found), len(found))
    return f"{sum(found)} of {len(found)} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    sys.exit(main())
