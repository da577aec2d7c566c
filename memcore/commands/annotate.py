"""``memcore annotate``."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
from pathlib import Path

from memcore.commands._answer import DONE, Answer
from memcore.errors import ConfigError

NAME = "annotate"
HELP = "let two people judge the findings, in a browser"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run and the page's port."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a finished run that was matched")
    parser.add_argument("--port", type=int, default=8765, help="port on 127.0.0.1 (default: %(default)s)")
    parser.add_argument("--top", type=int, default=1000, help="findings to judge (default: %(default)s)")
    parser.add_argument(
        "--agreement",
        action="store_true",
        help="print the answers, Cohen's kappa and disagreements, and exit",
    )


def run(arguments: argparse.Namespace) -> Answer | int:
    """Serve the page until it is interrupted, or say how far the annotators agree."""
    if arguments.agreement:
        from memcore.annotate.agreement import agreement_lines, read_agreement

        result = read_agreement(arguments.run)
        return Answer(result, agreement_lines(result))
    if arguments.top < 1:
        raise ConfigError(f"top must be at least 1, got {arguments.top}")
    if not 0 <= arguments.port < 65536:
        raise ConfigError(f"port must be 0 to 65535, got {arguments.port}")
    from memcore.annotate.server import serve

    show = _show_json if arguments.json else _show_links
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Ctrl-C is how this command ends
    with contextlib.suppress(KeyboardInterrupt):
        serve(arguments.run, port=arguments.port, top=arguments.top, ready=show)
    print("The page is closed; all answers that it called saved are saved.", file=sys.stderr)
    return DONE


def _show_json(links: dict[int, str]) -> None:
    print(json.dumps({"links": links}), flush=True)


def _show_links(links: dict[int, str]) -> None:
    for annotator, link in links.items():
        print(f"annotator {annotator}: {link}", flush=True)
    print("Give each their own link. Answers are saved at once; Ctrl-C ends.", file=sys.stderr, flush=True)
