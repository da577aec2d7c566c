"""Finds groups of near-duplicate images in a folder: the exact graph, then its disjoint cliques.

python examples/near_duplicates.py FOLDER [THRESHOLD]
"""

from __future__ import annotations

import sys
from pathlib import Path

import memcore
from memcore.sources.in_memory import load_training_set


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    threshold = float(sys.argv[2]) if len(sys.argv) > 2 else 0.1
    images, names, broken = load_training_set(Path(sys.argv[1]))
    graph = memcore.tiled_l2_graph(images, threshold)
    print(f"{len(names)} images, {len(broken)} unreadable, {len(graph)} pairs within {threshold}")
    for clique in memcore.find_cliques(graph, min_size=2):
        print("  ".join(names[member] for member in clique.members))


if __name__ == "__main__":
    main()
