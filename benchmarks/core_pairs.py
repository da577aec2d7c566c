"""What the native calls cost in one checkout against another: fresh processes of the two, whose calls take turns.

    python benchmarks/core_pairs.py BEFORE [AFTER] [--pairs 30] [--only NAME,NAME] [--turns 60] [--threads 1]

BEFORE and AFTER (by default this checkout) are folders with memcore and its compiled core. For a pair a process of each
starts on the same processor; the two read the same pages of images and take turns, one sample of about 50 ms each, so that
what slows the machine for a second slows both. The pair's ratio is the median over its turns. The figure is the median of
all pairs' ratios with the interval that holds 95 % of the medians of resamples, as in `pairs.py`. A call costs no more than
before, to within 2 %, where the interval ends at or below 1.02.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pairs import summarise

HERE = Path(__file__).resolve().parent
LIMIT = 1.02
_SAMPLE_S = 0.05
#: The variable that tells a worker where the images are.
_INPUTS = "MEMCORE_CORE_PAIRS"


def _images(n: int, side: int) -> np.ndarray:
    """Return the images that the main process made: the same memory in both processes, since its place costs per cents."""
    images: np.ndarray = np.load(Path(os.environ[_INPUTS]) / f"{n}x{side}.npy", mmap_mode="r")
    return images


def _make_images(folder: Path, names: list[str]) -> None:
    from memcore.bench import kinds

    for name in names:
        kind, _, size = name.partition(" ")
        if kind in ("dense", "graph"):
            n, side = (int(part) for part in size.split(" x "))
            np.save(folder / f"{n}x{side}.npy", kinds.images("12 duplicates", n, side))


def _dense(n: int, side: int, threads: int) -> Callable[[], object]:
    import memcore

    images = _images(n, side)
    return lambda: memcore.pairwise_tiled_l2(images, threads=threads)


def _graph(n: int, side: int, threads: int) -> Callable[[], object]:
    import memcore

    images = _images(n, side)
    return lambda: memcore.tiled_l2_graph(images, 0.15, threads=threads)


def _knn(threads: int) -> Callable[[], object]:
    from memcore.knn import knn

    rows = np.random.default_rng(3).integers(0, 256, (5_000, 3_072), dtype=np.uint8)
    return lambda: knn(rows[:200], rows, 10, threads=threads)


def _clique(threads: int) -> Callable[[], object]:
    import memcore
    from memcore.bench import graphs

    made = [graphs.random(160, 0.5, seed) for seed in range(40)]
    return lambda: [memcore.max_clique(graph) for graph in made]


WORKLOADS: dict[str, Callable[[int], Callable[[], object]]] = {
    "dense 100 x 512": lambda threads: _dense(100, 512, threads),
    "dense 600 x 64": lambda threads: _dense(600, 64, threads),
    "graph 500 x 512": lambda threads: _graph(500, 512, threads),
    "graph 300 x 256": lambda threads: _graph(300, 256, threads),
    "knn": _knn,
    "clique": _clique,
}


def serve(name: str, threads: int) -> None:
    """Print the seconds of a call for every line that comes in, in this process."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])  # two processors may differ by 10 %
    call = WORKLOADS[name](threads)
    call()
    start = time.perf_counter()
    call()
    repeats = max(1, round(_SAMPLE_S / max(time.perf_counter() - start, 1e-6)))
    print(json.dumps({"repeats": repeats}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        print((time.perf_counter() - start) / repeats, flush=True)


class Side:
    """A fresh process that uses the memcore of `checkout`."""

    def __init__(self, checkout: Path, name: str, threads: int) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(checkout), str(HERE)]),
            "OMP_NUM_THREADS": "1",
            # By chance of the heap's layout glibc gives memory back after each call or keeps it: up to 9 % of a short call.
            "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
            "MALLOC_MMAP_THRESHOLD_": str(1 << 25),
        }
        command = [sys.executable, str(HERE / "core_pairs.py"), "--worker", name, "--threads", str(threads)]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        used = Path(json.loads(self._line())["memcore"]).resolve().parent.parent
        if used != checkout.resolve():
            raise SystemExit(f"asked for {checkout}, but the memcore of {used} was imported")
        self._line()

    def sample(self) -> float:
        """Return the seconds of a call."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the process of a side ended with {self._process.wait()}")
        return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("before", type=Path, nargs="?", help="checkout with its core built")
    parser.add_argument("after", type=Path, nargs="?", default=HERE.parent, help="default: this one")
    parser.add_argument("--pairs", type=int, default=30, help="default: 30")
    parser.add_argument("--turns", type=int, default=60, help="samples of each process; default: 60")
    parser.add_argument("--threads", type=int, default=1, help="default: 1")
    parser.add_argument("--only", default=",".join(WORKLOADS), help=f"of {', '.join(WORKLOADS)}")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        import memcore

        print(json.dumps({"memcore": memcore.__file__}), flush=True)
        serve(options.worker, options.threads)
        return
    if options.before is None:
        parser.error("BEFORE is missing: a checkout with its core built")
    names = options.only.split(",")
    for name in names:
        if name not in WORKLOADS:
            parser.error(f"--only: no workload {name!r}; there are {', '.join(WORKLOADS)}")
    with tempfile.TemporaryDirectory() as folder:
        os.environ[_INPUTS] = folder
        _make_images(Path(folder), names)
        compare(options, names)


def compare(options: argparse.Namespace, names: list[str]) -> None:
    """Print a line for each workload."""
    for name in names:
        ratios, seconds = [], []
        for pair in range(options.pairs):
            places = [options.before, options.after]
            if pair // 2 % 2:  # who starts first may get the better memory
                places.reverse()
            started = {place: Side(place, name, options.threads) for place in places}
            before, after = started[options.before], started[options.after]
            took: dict[Side, list[float]] = {before: [], after: []}
            for turn in range(options.turns):
                for side in (before, after) if (pair + turn) % 2 == 0 else (after, before):
                    took[side].append(side.sample())
            before.close()
            after.close()
            ratios.append(float(np.median(np.divide(took[after], took[before]))))
            seconds.append(float(np.median(took[after])))
        median, low, high = summarise(ratios)
        verdict = "holds" if high <= LIMIT else "fails"
        print(
            f"{name}: {median:.3f} ({low:.3f} to {high:.3f}), {len(ratios)} pairs, {np.median(seconds):.4f} s: {verdict}",
            flush=True,
        )


if __name__ == "__main__":
    main()
