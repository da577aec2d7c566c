"""What the sequential budget loses and saves: simulated prompts against the exact figures, and a real audit.

    python benchmarks/budget_misses.py            # 10,000 prompts for each copy rate, an audit of 3,500 prompts
    python benchmarks/budget_misses.py --prompts 1000 --audit 350

The exit code is 1 if a measured miss rate is above its bound beyond chance, or differs from the exact figure beyond
chance, or if the audit saves less than its target.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from memcore.audit import audit
from memcore.evaluation.score import clopper_pearson
from memcore.runs.config import Config
from memcore.sampling import Sequential, StopReason, outcome
from memcore.types import Images, Request

RULES = {(0.10, 0.01): 0.86, (0.05, 0.01): 0.72}
#: Multiples of the promised copy rate that are simulated; below 1 there is no promise.
TIMES = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 4.0)
#: Chance that an image joins a clique of images that resemble each other without being copies.
BACKGROUND = (0.0, 0.01, 0.05)
#: One minus the chance that a comparison rejects a correct program.
CONFIDENCE = 0.99999
SHAPE = (16, 16, 3)


def run_rule(rule: Sequential, cliques: Sequence[int]) -> tuple[int, StopReason]:
    """Return images made and why the prompt ended; ``cliques[n]`` is the largest clique's size among the first n."""
    generated = 0
    while True:
        size = cliques[generated]
        decision = rule.decide(generated, lambda known=(size, size): known)  # type: ignore[misc]
        if decision.stop is not None:
            return generated, decision.stop
        generated += decision.images


def simulate(
    rule: Sequential, rate: float, background: float, prompts: int, seed: int
) -> tuple[int, int, int, float]:
    """Return the prompts that the fixed rule finds, that this rule finds, that only the former finds, and mean images."""
    rng = np.random.default_rng(seed)
    fixed = found = lost = images = 0
    for _ in range(prompts):
        draws = rng.random(rule.generations)
        copies = np.concatenate([[0], (draws < rate).cumsum()])
        others = np.concatenate([[0], (draws > 1 - background).cumsum()])
        largest = np.maximum(np.maximum(copies, others), np.minimum(np.arange(len(copies)), 1)).tolist()
        made, stop = run_rule(rule, largest)
        # only what the fixed rule finds by copies counts: background cliques are not memorised images
        by_copies = int(copies[-1]) >= rule.min_clique
        fixed += by_copies
        found += stop == StopReason.FOUND
        lost += by_copies and stop in (StopReason.HOPELESS, StopReason.IMPOSSIBLE)
        images += made
    return fixed, found, lost, images / prompts


class Audited:
    """A sampler of noise, but for the first prompt: a quarter of its images are copies."""

    image_shape = SHAPE
    fingerprint = "noise with one memorised prompt"

    def sample(self, requests: Sequence[Request]) -> Images:
        pixels = np.empty((len(requests), *SHAPE), np.uint8)
        for i, request in enumerate(requests):
            rng = np.random.default_rng(request.seed)
            copied = request.prompt_id == 0 and rng.random() < 0.25
            pixels[i] = rng.integers(*((100, 110) if copied else (0, 256)), SHAPE, dtype=np.uint8)
        return Images(pixels, np.zeros(len(requests), np.bool_))


def real_audit(rule: Sequential, prompts: int) -> tuple[float, bool]:
    """Return the share of the fixed rule's images that an audit saves, and whether it found the one prompt."""
    with tempfile.TemporaryDirectory() as folder:
        config = Config(
            source="custom",
            budget="sequential",
            copy_rate=rule.copy_rate,
            miss_rate=rule.miss_rate,
            batch_size=64,
            shard_prompts=500,
        )
        names = [f"prompt {i}" for i in range(prompts)]
        rows = audit(Path(folder) / "run", config, sampler=Audited(), prompts=names, quiet=True).findings()
        saved = 1 - sum(row["generated"] for row in rows) / (500 * prompts)
        return saved, [row["prompt_id"] for row in rows if row["status"] == "finding"] == [0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=10_000, help="simulated prompts a copy rate")
    parser.add_argument("--audit", type=int, default=3_500, help="prompts of the real audit")
    arguments = parser.parse_args()
    wrong: list[str] = []
    print(
        "| rule | copy rate | background | fixed finds | lost of these | interval | exact | bound | images a prompt |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for (copy_rate, miss_rate), _ in RULES.items():
        rule = Sequential(copy_rate, miss_rate)
        for number, (times, background) in enumerate((t, b) for t in TIMES for b in BACKGROUND):
            rate = round(times * copy_rate, 6)
            fixed, _, lost, images = simulate(rule, rate, background, arguments.prompts, seed=number)
            low, high = clopper_pearson(lost, arguments.prompts)
            exact = float(outcome(rule.boundary, Fraction(str(rate))).lost)
            widest = clopper_pearson(lost, arguments.prompts, CONFIDENCE)
            bound = f"{miss_rate:g}" if times >= 1 else "none"
            name = f"{copy_rate:g}, {miss_rate:g}"
            print(
                f"| {name} | {rate:g} | {background:g} | {fixed} | {lost} ({lost / arguments.prompts:.4f}) "
                f"| {low:.4f} to {high:.4f} | {exact:.5f}{' at most' if background else ''} | {bound} | {images:.0f} |"
            )
            if times >= 1 and widest[0] > miss_rate:
                wrong.append(f"{name} at {rate:g}: above the bound")
            if widest[0] > exact or (not background and widest[1] < exact):
                wrong.append(f"{name} at {rate:g}: not the exact figure")
    for (copy_rate, miss_rate), target in RULES.items():
        saved, found = real_audit(Sequential(copy_rate, miss_rate), arguments.audit)
        print(
            f"\naudit of {arguments.audit} prompts, one memorised, at ({copy_rate:g}, {miss_rate:g}):",
            end=" ",
        )
        print(f"{100 * saved:.2f} % of the images saved (target {100 * target:g} %), found: {found}")
        if saved < target or not found:
            wrong.append(f"({copy_rate:g}, {miss_rate:g}): the audit missed its target")
    print(*wrong, sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
