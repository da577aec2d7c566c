"""The figures of docs/study.md: what the bundled model does with three sets of seeds, and what guidance does to it.

    python benchmarks/demo_model_figures.py           # 10 minutes on one core
    python benchmarks/demo_model_figures.py --seeds 0

Each set of seeds is an audit of all captions of its own, as ``memcore demo`` makes it for seed 0. Prints Markdown.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from memcore.audit import audit
from memcore.demo import BATCH, GUIDANCE, STEPS, TRAP_GUIDANCE, TRAP_PROMPTS
from memcore.distance import pairwise_tiled_l2
from memcore.runs import layout
from memcore.runs.config import Config
from memcore.runs.rows import FindingRow
from memcore.study.dataset import load, load_demo

THRESHOLD = 0.15
Pixels = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Caption:
    """One caption's generations under one set of seeds, and its row of the audit."""

    kind: str
    training: Pixels
    images: Pixels
    seeds: list[int]
    row: FindingRow

    @property
    def flagged(self) -> bool:
        """Tell whether the audit found a clique."""
        return bool(self.row["size"])

    @property
    def clique(self) -> int:
        """Return the size of the largest clique, also below that of a finding."""
        return int(self.row["largest"] or 0)

    def copied(self) -> float:
        """Return the share of generations within the threshold of one of the caption's own training images."""
        near = tiled(self.images, self.training).min(axis=1)
        return float((near <= THRESHOLD).mean())

    def medoid(self, training: Pixels) -> tuple[float, float]:
        """Return the distances, tiled l2 and plain l2, from the clique's medoid to the nearest of these images."""
        assert self.row["medoid_seed"] is not None
        medoid = self.images[self.seeds.index(self.row["medoid_seed"])][None]
        return float(tiled(medoid, training).min()), float(plain(medoid, training).min())


def tiled(left: Pixels, right: Pixels | None = None) -> NDArray[np.float32]:
    """Return tiled l2 of 4 x 4 tiles, as the audit uses it."""
    distances: NDArray[np.float32] = pairwise_tiled_l2(left, right, channels="last", threads=1)
    return distances


def plain(left: Pixels, right: Pixels | None = None) -> NDArray[np.float32]:
    """Return l2 over whole images."""
    distances: NDArray[np.float32] = pairwise_tiled_l2(left, right, grid=(1, 1), channels="last", threads=1)
    return distances


def run(folder: Path, seed: int, guidance: float, truth: Sequence[Mapping[str, Any]]) -> dict[str, Caption]:
    """Audit all captions with one set of seeds, and return them by name."""
    demo = load_demo()
    training = load(demo.folder).images
    config = Config(
        model=str(demo.model),
        prompts=str(demo.prompts),
        generations=64,
        steps=STEPS,
        guidance_scale=guidance,
        batch_size=BATCH,
        seed=seed,
        keep="all",
    )
    done = audit(folder, config, workers=1, threads=1)
    about = {entry["prompt"]: entry for entry in truth}
    captions = {}
    for row in done.findings():
        files = sorted((folder / layout.image_name(row["prompt_id"], 0)).parent.glob("*.png"))
        images = np.stack([np.asarray(Image.open(file)) for file in files])
        entry = about[row["prompt"]]
        captions[row["prompt"]] = Caption(
            entry["kind"], training[entry["training_images"]], images, [int(f.stem) for f in files], row
        )
    return captions


def print_kinds(sets: Sequence[Mapping[str, Caption]]) -> None:
    """Print one row a kind of caption: how many are flagged, the largest cliques, and the share of copies."""
    print("| kind | captions | flagged, in each set | clique: least, median, most | share of copies |")
    print("|---|---|---|---|---|")
    for kind in dict.fromkeys(caption.kind for caption in sets[0].values()):
        own = [[c for c in captions.values() if c.kind == kind] for captions in sets]
        flagged = ", ".join(str(sum(c.flagged for c in captions)) for captions in own)
        cliques = sorted(c.clique for captions in own for c in captions)
        shares = [c.copied() for captions in own for c in captions]
        low, high = f"{min(shares):.2f}", f"{max(shares):.2f}"
        share = low if low == high else f"{low} to {high}"
        sizes = f"{cliques[0]}, {round(statistics.median(cliques))}, {cliques[-1]}"
        print(f"| `{kind}` | {len(own[0])} | {flagged} | {sizes} | {share} |")


def print_medoids(sets: Sequence[Mapping[str, Caption]], what: str) -> None:
    """Print how far the medoids of the memorised captions are from what was planted, and what plain l2 would flag."""
    found = [
        c.medoid(c.training)
        for captions in sets
        for c in captions.values()
        if c.kind in ("dup200", "dup50") and c.flagged
    ]
    by_tile, whole = zip(*found, strict=True)
    ranges = (
        f"tiled l2 {min(by_tile):.3f} to {max(by_tile):.3f}, plain l2 {min(whole):.3f} to {max(whole):.3f}"
    )
    far = sum(distance > THRESHOLD for distance in by_tile)
    print(f"\n{what}: {len(found)} medoids of dup200 and dup50, {ranges}; {far} not within {THRESHOLD}")


def print_guidance(without: Mapping[str, Caption], guided: Mapping[str, Caption], training: Pixels) -> None:
    """Print what guidance does to the captions with 10 copies, to the flat ones, and to those of single images."""
    print(f"\n| caption | clique at {GUIDANCE} | clique at {TRAP_GUIDANCE} | tiled l2 | plain l2 |")
    print("|---|---|---|---|---|")
    for name in TRAP_PROMPTS:
        distances = (
            [f"{d:.3f}" for d in guided[name].medoid(training)] if guided[name].flagged else ["-", "-"]
        )
        print(f"| {name} | {without[name].clique} | {guided[name].clique} | {' | '.join(distances)} |")
    for kind in ("flat", "once", "generic", "variations"):
        own = {name: caption for name, caption in guided.items() if caption.kind == kind}
        flagged = {n: (c.clique, *c.medoid(training)) for n, c in own.items() if c.flagged}
        print(f"\n{kind} at {TRAP_GUIDANCE}: {len(flagged)} of {len(own)} flagged: {flagged}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit, measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the sets (default: 0 1 2)"
    )
    options = parser.parse_args(arguments)
    demo = load_demo()
    truth = json.loads(demo.truth.read_text())["prompts"]
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        sets = [run(root / f"{seed}", seed, GUIDANCE, truth) for seed in options.seeds]
        print_kinds(sets)
        print_medoids(sets, f"guidance {GUIDANCE}")
        guided = run(root / "guided", options.seeds[0], TRAP_GUIDANCE, truth)
        print_medoids([guided], f"guidance {TRAP_GUIDANCE}")
        print_guidance(sets[0], guided, load(demo.folder).images)
    for name, caption in sets[0].items():
        if caption.kind == "flat":
            near = plain(caption.images) <= THRESHOLD
            pairs = (int(near.sum()) - len(near)) // 2
            print(
                f"\n{name} by plain l2: {pairs} of {len(near) * (len(near) - 1) // 2} pairs within {THRESHOLD}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
