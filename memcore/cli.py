"""The ``memcore`` command.

Exit codes: 0 done and complete, 1 could not be done, 2 wrong usage, 3 stopped but resumable, 5 done but incomplete.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import sys
from collections.abc import Collection, Sequence

from memcore.commands import (
    annotate,
    audit,
    bench,
    completion,
    demo,
    evaluate,
    fetch,
    filter,
    index,
    info,
    match,
    plan,
    prompts,
    report,
    serve_model,
    show,
    status,
    study,
)
from memcore.commands._answer import FAILED, INTERRUPTED, USAGE, Answer, Command
from memcore.commands._interrupts import Interrupts
from memcore.commands._parser import CommandParser
from memcore.errors import (
    MemcoreError,
    OutageError,
    SamplerError,
    StoppedError,
    StoreError,
    TransientError,
    WorkerError,
)
from memcore.system.console import output, output_kept, plain_warnings, write, write_error

#: Every command, in the order of ``memcore --help``.
COMMANDS: tuple[Command, ...] = (
    demo,
    audit,
    filter,
    show,
    match,
    annotate,
    evaluate,
    report,
    index,
    prompts,
    plan,
    status,
    fetch,
    serve_model,
    study,
    bench,
    info,
    completion,
)


def build_parser(only: Collection[str] | None = None) -> argparse.ArgumentParser:
    """Return the whole command line; with ``only``, the arguments of these commands alone are filled in."""
    import memcore

    parser = CommandParser(
        prog="memcore",
        description="Find the training images that an image generator has memorised, and prove it.",
    )
    parser.add_argument("--version", action="version", version=f"memcore {memcore.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        description = f"{command.HELP[0].upper()}{command.HELP[1:]}."
        own = commands.add_parser(
            command.NAME,
            help=command.HELP,
            description=description,
            epilog=_examples(command),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        own.set_defaults(run_command=command.run)
        if only is None or command.NAME in only:
            own.add_argument("--json", action="store_true", help="print the answer as JSON")
            command.arguments(own)
    return parser


def _examples(command: Command) -> str | None:
    """Return the lines that end a command's help."""
    examples: Sequence[str] = getattr(command, "EXAMPLES", ())
    return "\n".join(["examples:", *(f"  {example}" for example in examples)]) if examples else None


def program() -> int:
    """Run the command of this process, which ends after it."""
    plain_warnings()
    return main(final=True)


def main(argv: Sequence[str] | None = None, *, final: bool = False) -> int:
    """Run the command and return its exit code; never show a traceback for a user's mistake.

    ``final`` is for a process that ends after it.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):  # a console that lacks a letter shows its escape
        if getattr(stream, "errors", "") == "strict":
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    words = study.with_action(words)
    try:
        arguments = build_parser(only=words).parse_args(words)
    except SystemExit as stop:  # argparse has printed what is wrong
        return int(stop.code or 0)
    arguments.argv = words
    arguments.build_parser = build_parser
    try:
        with Interrupts(final=final), output_kept() if arguments.json else contextlib.nullcontext():
            return _run(arguments, words)
    except KeyboardInterrupt:  # just before the command began, or just after it ended
        return _interrupted(words)


def _run(arguments: argparse.Namespace, words: Sequence[str]) -> int:
    """Run the command, print its answer or what is wrong, and return its exit code."""
    if _is_folder_gone():  # a Python that starts there, as a worker does, dies before its first line
        write_error("memcore: the working folder was removed: change to one that exists")
        return USAGE
    try:
        answer = arguments.run_command(arguments)
        if isinstance(answer, int):
            return answer
        _print(answer, arguments.json)
        return int(answer.exit_code)
    except KeyboardInterrupt:
        return _interrupted(words)
    except (OutageError, StoppedError, TransientError) as error:
        write_error(f"memcore: {error}")
        return INTERRUPTED
    except (SamplerError, StoreError, WorkerError) as error:
        write_error(f"memcore: {error}")
        return FAILED
    except MemcoreError as error:
        write_error(f"memcore: {error}")
        return USAGE
    except (MemoryError, RecursionError) as error:
        what = (
            "it takes more memory than there is"
            if isinstance(error, MemoryError)
            else "it is nested too deep"
        )
        write_error(f"memcore: {what}; what is finished stays")
        return FAILED
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        write_error(f"memcore: {error.strerror or error}{where}")
        return FAILED


def _interrupted(words: Sequence[str]) -> int:
    # After an exec() of a text that was interrupted, as those of dataclasses are, Python would end the process by SIGINT,
    # whatever it is to return, until another one has ended well.
    exec("")
    again = shlex.join(["memcore", *words])
    write_error(f"memcore: interrupted; what is finished stays. To resume: {again}")
    return INTERRUPTED


def _print(answer: Answer, as_json: bool) -> None:
    """Print an answer; whoever reads only its beginning, as ``| head`` does, has what they want."""
    try:
        write(answer.text(as_json), exact=answer.exact)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), output().fileno())  # nothing is left to fail at the end


def _is_folder_gone() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


if __name__ == "__main__":
    sys.exit(program())
