"""The ``memcore`` command. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 interrupted but resumable."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from memcore.errors import MemcoreError, SamplerError, StoreError, WorkerError
from memcore.evaluation.result import Evaluation

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 3


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    import memcore
    from memcore.commands import runs

    parser = argparse.ArgumentParser(
        prog="memcore",
        description="Find the training images that an image generator has memorised, and prove it.",
    )
    parser.add_argument("--version", action="version", version=f"memcore {memcore.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    demo = _command(commands, "demo", "the whole audit on the bundled small diffusion model", _demo)
    demo.add_argument(
        "--out", type=Path, default=Path("demo-run"), help="folder for the run (default: %(default)s)"
    )
    demo.add_argument(
        "--train", action="store_true", help="train the model afresh first (about half an hour)"
    )
    demo.add_argument("--generations", type=int, default=64, help="images a prompt (default: %(default)s)")
    runs.add_workers(demo)

    runs.register(commands, _command, _print)
    from memcore.commands import index

    index.register(commands, _command, _print)
    from memcore.commands.launch import add_commands

    add_commands(lambda name, about, run: _command(commands, name, about, run))

    evaluate = _command(commands, "evaluate", "precision and recall, and other thresholds", _evaluate)
    evaluate.add_argument("run", type=Path, metavar="RUN")
    held = evaluate.add_mutually_exclusive_group(required=True)
    held.add_argument("--truth", type=Path, help="truth.json: what was planted")
    held.add_argument(
        "--against", choices=["matches", "annotations"], help="the run's extractions, or what people said"
    )

    from memcore.annotate import command as annotate

    annotate.add_arguments(
        _command(commands, "annotate", "let two people judge the findings, in a browser", annotate.run)
    )

    report = _command(commands, "report", "one HTML file that opens without a network", _report)
    report.add_argument("run", type=Path, metavar="RUN")
    report.add_argument(
        "--compare", type=Path, action="append", default=[], metavar="RUN", help="another run to show"
    )

    study = _command(commands, "study", "train the bundled model again, with its planted duplicates", _study)
    study.add_argument("out", type=Path, metavar="FOLDER")
    study.add_argument("--steps", type=int, help="training steps (default: the bundled model's)")

    from memcore.commands import bench, plan

    bench.register(commands, _command, _print)
    plan.register(commands, _command, _print)
    _command(commands, "info", "what is installed and what would run", _info)
    return parser


def _command(
    commands: Any, name: str, about: str, run: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=about, description=about[0].upper() + about[1:] + "."
    )
    parser.add_argument("--json", action="store_true", help="the answer as JSON on standard output")
    parser.set_defaults(run_command=run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code; never shows a traceback for a user's mistake."""
    parser = build_parser()
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as stop:  # argparse has printed what was wrong
        return int(stop.code or 0)
    arguments.argv = list(argv if argv is not None else sys.argv[1:])
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return int(arguments.run_command(arguments))
    except KeyboardInterrupt:
        again = shlex.join(["memcore", *arguments.argv])
        print(f"\nmemcore: interrupted; what is finished stays. To go on: {again}", file=sys.stderr)
        return INTERRUPTED
    except (SamplerError, StoreError, WorkerError) as error:
        print(f"memcore: {error}", file=sys.stderr)
        return FAILED
    except MemcoreError as error:
        print(f"memcore: {error}", file=sys.stderr)
        return USAGE
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"memcore: {error.strerror or error}{where}; what is finished stays", file=sys.stderr)
        return FAILED


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _print(arguments: argparse.Namespace, result: Mapping[str, Any], lines: Sequence[str]) -> None:
    print(json.dumps(result, indent=1) if arguments.json else "\n".join(lines))


def _evaluate(arguments: argparse.Namespace) -> int:
    from memcore.evaluation.evaluate_run import evaluate_run

    result = evaluate_run(arguments.run, arguments.truth, against=arguments.against or "truth")
    _print(arguments, result, evaluation_lines(result))
    return DONE


def evaluation_lines(result: Evaluation) -> list[str]:
    """Precision and recall of each stage, in words."""
    lines = []
    for name, stage in result["stages"].items():
        shown = [
            f"{what} {'none' if p['value'] is None else format(p['value'], '.3f')} [{p['low']:.3f}, {p['high']:.3f}]"
            for what, p in (("precision", stage["precision"]), ("recall", stage["recall"]))
        ]
        lines.append(
            f"{name}: {', '.join(shown)}, average precision {stage['average_precision']:.3f}, "
            f"recall at zero false positives {stage['recall_at_zero_fp']:.3f}"
        )
    if best := result.get("sweep", {}).get("best"):
        lines.append(
            f"largest recall at zero false positives of all thresholds and sizes: {best['recall_at_zero_fp']:.3f}, at "
            f"threshold {best['threshold']:g} and cliques of {best['min_clique']}"
        )
    return lines


def _report(arguments: argparse.Namespace) -> int:
    from memcore.report import write_report

    path = write_report(arguments.run, compare=arguments.compare)
    _print(arguments, {"report": str(path)}, [str(path)])
    return DONE


def _demo(arguments: argparse.Namespace) -> int:
    from memcore.commands import runs
    from memcore.demo import demo

    runs.check_positive(arguments, "workers", "threads", "generations")
    result = demo(
        arguments.out,
        train=arguments.train,
        generations=arguments.generations,
        workers=arguments.workers,
        threads=arguments.threads,
        quiet=arguments.quiet,
    )
    _print(arguments, result, [*evaluation_lines(result["evaluation"]), f"report: {result['report']}"])
    return DONE


def _study(arguments: argparse.Namespace) -> int:
    from memcore.study.tiny_sd import build

    options = {} if arguments.steps is None else {"steps": arguments.steps}
    build(arguments.out, progress=lambda line: print(line, file=sys.stderr, flush=True), **options)
    _print(arguments, {"folder": str(arguments.out)}, [str(arguments.out)])
    return DONE


def _info(arguments: argparse.Namespace) -> int:
    from memcore.info import info, info_lines

    result = info()
    _print(arguments, result, info_lines(result))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
