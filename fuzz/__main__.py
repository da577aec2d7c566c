"""The command line: ``python -m fuzz``."""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from pathlib import Path

from fuzz.driver import Job, Run, record, run_all
from fuzz.target import TARGETS, Case, load
from fuzz.worker import Failure, limit_memory, try_case

SECONDS = float(os.environ.get("MEMCORE_FUZZ_SECONDS", "120"))


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m fuzz", description="Fuzzers of memcore (docs/fuzzing.md)."
    )
    parser.add_argument("what", nargs="*", metavar="FUZZER", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument(
        "--seconds",
        type=float,
        default=SECONDS,
        help="of each fuzzer (default: MEMCORE_FUZZ_SECONDS, or 120)",
    )
    parser.add_argument("--cases", type=int, default=1 << 40, help="of each fuzzer at most; a second limit")
    parser.add_argument("--seed", type=int, help="of the whole run (default: one that is drawn)")
    parser.add_argument("--jobs", type=int, default=1, help="fuzzers at a time (default: %(default)s)")
    parser.add_argument("--case", help="run one case again, by the name of a failure: FUZZER:SEED:NUMBER")
    parser.add_argument("--input", type=Path, nargs="+", help="run one fuzzer on inputs from files")
    parser.add_argument("--keep", type=Path, help="with --case: write its input to this file")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")
    arguments = parser.parse_args(words)
    if unknown := [name for name in arguments.what if name not in TARGETS and ":" not in name]:
        parser.error(f"there is no fuzzer {unknown[0]!r}; there are {', '.join(TARGETS)}")
    if arguments.input and len(arguments.what) != 1:
        parser.error("--input needs the name of one fuzzer")
    return arguments


def again(name: str, inputs: list[tuple[str, bytes]], case: Case | None, keep: Path | None) -> int:
    """Check single inputs in this process; print what becomes of them."""
    failed = False
    with tempfile.TemporaryDirectory(prefix="memcore-fuzz-") as folder:
        keep = None if keep is None else keep.resolve()
        os.chdir(folder)
        target = load(name, Path(folder))
        if case is not None:
            inputs = [(str(case), case.make(target))]
        limit_memory()
        for title, data in inputs:
            if keep is not None:
                keep.write_bytes(data)
            outcome, found = try_case(target, data)
            print(f"{title}: {outcome}" if found is None else f"{title}: {found[0]}\n{found[1]}", flush=True)
            failed |= found is not None
        os.chdir("/")
    return int(failed)


def tell(run: Run, as_json: bool) -> bool:
    """Record a fuzzer that is done, and say what it found. Return whether nothing failed."""
    result = record(run)
    if as_json:
        print(json.dumps(result), flush=True)
        return not run.failures
    words = ", ".join(f"{count:,} {word}" for word, count in run.outcomes.most_common())
    rest = f"slowest {run.slowest:.2f} s, most memory {run.grown >> 20} MiB"
    print(f"{run.job.name}: seed {run.job.seed}, {run.done:,} cases: {words or 'none'}; {rest}", flush=True)
    for (failure, _), told in zip(run.failures, result["failures"], strict=True):
        print_failure(failure, told["input"])
    if run.more > len(run.failures):
        print(f"{run.more - len(run.failures):,} further cases failed in the same ways")
    return not run.failures


def print_failure(failure: Failure, kept: str | None) -> None:
    print(f"\n*** FAILED {failure.case}: {failure.kind}")
    print("    " + failure.text.rstrip().replace("\n", "\n    "))
    print(f"    again: python -m fuzz --case {failure.case}")
    if kept is not None:
        name = Case.parse(failure.case).fuzzer
        print(f"    its input: python -m fuzz {name} --input {os.path.relpath(kept)}")
    print(flush=True)


def main(words: list[str]) -> int:
    """Return 0 where nothing failed, 1 where something did."""
    arguments = parse(words)
    if arguments.case:
        case = Case.parse(arguments.case)
        return again(case.fuzzer, [], case, arguments.keep)
    if arguments.input:
        inputs = [(str(path), path.read_bytes()) for path in arguments.input]
        return again(arguments.what[0], inputs, None, None)
    seed = random.SystemRandom().randrange(1 << 32) if arguments.seed is None else arguments.seed
    jobs = [Job(name, seed, arguments.seconds, arguments.cases) for name in arguments.what or TARGETS]
    if not arguments.json:
        print(f"seed {seed}; {arguments.seconds:g} s each: {', '.join(job.name for job in jobs)}", flush=True)
    ends: list[bool] = []
    run_all(jobs, max(1, arguments.jobs), lambda run: ends.append(tell(run, arguments.json)))
    return 0 if all(ends) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
