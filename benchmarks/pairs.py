"""What the commands cost in one checkout against another: pairs of the same command, one after the other.

    python benchmarks/pairs.py BEFORE [AFTER] [--pairs 40] [--only NAME,NAME] [--whole] [--threads 1] [--json]

BEFORE and AFTER (by default this checkout) are folders with memcore and its compiled core. Each gets a process of its own,
which stays, so that no start-up is counted and the two can take turns as fast as the commands are: before, after, after,
before. With ``--whole`` each command is a process instead, as a user starts it. Both checkouts read the same inputs and
write into folders of their own, and what they answer is compared before anything is timed.

The figure of a workload is the median of the ratios of its pairs, after to before, with the interval that holds 95 % of the
medians of 10,000 resamples of the pairs. A workload costs no more than before, to within 3 %, where the interval ends at or
below 1.03. Ratios are of wall-clock seconds; those of the processor's seconds, children included, are printed beside them.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).resolve().parent
#: The upper end of an interval that counts as "no more than before".
LIMIT = 1.03
_RESAMPLES = 10_000


class Sample(NamedTuple):
    """Seconds of one command: by the wall clock, and of the processor."""

    wall_s: float
    busy_s: float


class Result(NamedTuple):
    """The pairs of one workload: seconds before and after."""

    name: str
    before: list[Sample]
    after: list[Sample]

    def ratios(self, field: int) -> list[float]:
        return [a[field] / b[field] for a, b in zip(self.after, self.before, strict=True)]

    def as_dict(self) -> dict[str, Any]:
        wall, busy = summarise(self.ratios(0)), summarise(self.ratios(1))
        return {
            "name": self.name,
            "pairs": len(self.before),
            "before_s": float(np.median([s.wall_s for s in self.before])),
            "after_s": float(np.median([s.wall_s for s in self.after])),
            "ratio": wall[0],
            "low": wall[1],
            "high": wall[2],
            "processor": dict(zip(("ratio", "low", "high"), busy, strict=True)),
            "holds": wall[2] <= LIMIT,
        }


def summarise(ratios: Sequence[float]) -> tuple[float, float, float]:
    """Return the median, and the interval that holds 95 % of the medians of resamples."""
    values = np.asarray(ratios)
    picks = np.random.default_rng(0).integers(0, len(values), (_RESAMPLES, len(values)))
    low, high = np.percentile(np.median(values[picks], axis=1), [2.5, 97.5])
    return float(np.median(values)), float(low), float(high)


class Side:
    """One checkout: its environment, its folder for what is written, and its process unless commands are timed whole."""

    def __init__(self, name: str, checkout: Path, folder: Path, *, whole: bool) -> None:
        self.name = name
        self.folder = folder / name
        self.folder.mkdir()
        paths = [str(checkout), str(checkout / "kernels"), str(HERE)]
        pools = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self._environment = {**os.environ, **pools, "PYTHONPATH": os.pathsep.join(paths)}
        self._whole = whole
        self._process: subprocess.Popen[str] | None = None
        if not (checkout / "memcore" / "cli.py").exists():
            raise SystemExit(f"{checkout} is no checkout of memcore: it has no memcore/cli.py")
        # as an installation does: else workers compile each module, where PYTHONDONTWRITEBYTECODE is set
        compileall.compile_dir(checkout / "memcore", quiet=1)

    def run(self, arguments: Sequence[str]) -> tuple[Sample, dict[str, Any]]:
        """Run one command of memcore; return what it took, and its answer."""
        answer = self._start(arguments) if self._whole else self._ask(arguments)
        if answer["code"] not in (0, 5):  # 5: done, but something was not decided
            raise SystemExit(
                f"{self.name}: memcore {' '.join(arguments)} ended with {answer['code']}:\n{answer['text']}"
            )
        return Sample(answer["wall_s"], answer["busy_s"]), json.loads(answer["text"])

    def _ask(self, arguments: Sequence[str]) -> dict[str, Any]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, str(HERE / "pairs_worker.py")],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(list(arguments)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: its process ended with {self._process.wait()}")
        return dict(json.loads(line))

    def _start(self, arguments: Sequence[str]) -> dict[str, Any]:
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "memcore.cli", *arguments],
            env=self._environment,
            check=False,
            capture_output=True,
            text=True,
        )
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        text = done.stdout if done.returncode in (0, 5) else done.stderr
        return {"code": done.returncode, "wall_s": wall, "busy_s": busy, "text": text}

    def close(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()


def measure(workload: Any, before: Side, after: Side, threads: int, pairs: int) -> Result:
    """Compare the answers once, which also warms both sides up, then time pairs: before, after, after, before."""

    def once(side: Side) -> tuple[Sample, dict[str, Any]]:
        with workload.fresh(side.folder) as arguments:
            return side.run([*arguments, "--json", "--threads", str(threads)])

    for side in (before, after):
        for arguments in workload.prepare(side.folder):
            side.run([*arguments, "--json", "--threads", str(threads)])
    answers = [workload.answer(once(side)[1]) for side in (before, after)]
    if answers[0] != answers[1] or not any(answers[0].values()):
        raise SystemExit(
            f"{workload.name}: the answers differ, nothing was timed:\n{answers[0]}\n{answers[1]}"
        )
    result = Result(workload.name, [], [])
    for number in range(pairs):
        for side in (before, after) if number % 2 == 0 else (after, before):
            (result.before if side is before else result.after).append(once(side)[0])
    for side in (before, after):
        shutil.rmtree(side.folder)
        side.folder.mkdir()
    return result


def table(results: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the results as a Markdown table."""
    yield "| workload | before | after | median of the ratios | 95 % | of the processor's seconds | <= 1.03 |"
    yield "|---|---|---|---|---|---|---|"
    for row in results:
        busy = row["processor"]
        yield (
            f"| {row['name']} | {row['before_s']:.3f} s | {row['after_s']:.3f} s | {row['ratio']:.3f} "
            f"| {row['low']:.3f} to {row['high']:.3f} | {busy['ratio']:.3f} ({busy['low']:.3f} to {busy['high']:.3f}) "
            f"| {'holds' if row['holds'] else 'fails'} |"
        )


def describe(row: dict[str, Any]) -> str:
    """Return one line about a workload, for who waits."""
    busy = row["processor"]
    return (
        f"{row['name']}: {row['ratio']:.3f} ({row['low']:.3f} to {row['high']:.3f}), of the processor's seconds "
        f"{busy['ratio']:.3f} ({busy['low']:.3f} to {busy['high']:.3f})"
    )


def main() -> None:
    from pairs_workloads import WORKLOADS, Inputs

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("before", type=Path, help="checkout with its core built")
    parser.add_argument("after", type=Path, nargs="?", default=HERE.parent, help="default: this one")
    parser.add_argument("--pairs", type=int, default=40, help="default: 40")
    parser.add_argument("--only", default=",".join(WORKLOADS), help=f"of {', '.join(WORKLOADS)}")
    parser.add_argument("--whole", action="store_true", help="time whole commands, each a process of its own")
    parser.add_argument("--threads", type=int, default=1, help="default: 1")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="size of the inputs, of that of the recorded figures"
    )
    parser.add_argument(
        "--folder", type=Path, help="where inputs and outputs are (default: a temporary folder)"
    )
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    args = parser.parse_args()
    names = [name for name in args.only.split(",") if name]
    if unknown := set(names) - set(WORKLOADS):
        parser.error(f"--only: unknown {', '.join(sorted(unknown))}; there are {', '.join(WORKLOADS)}")
    results = []
    with tempfile.TemporaryDirectory(prefix="memcore-pairs-", dir=args.folder) as made:
        inputs = Inputs(Path(made) / "inputs", args.scale)
        sides = [
            Side(name, checkout.resolve(), Path(made), whole=args.whole)
            for name, checkout in (("before", args.before), ("after", args.after))
        ]
        for name in names:
            row = measure(
                WORKLOADS[name](name, inputs), sides[0], sides[1], args.threads, args.pairs
            ).as_dict()
            results.append(row)
            print(describe(row), file=sys.stderr, flush=True)
        for side in sides:
            side.close()
    print(json.dumps({"results": results}, indent=1) if args.json else "\n".join(table(results)))


if __name__ == "__main__":
    main()
