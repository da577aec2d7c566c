"""``memcore annotate``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from memcore.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="a finished run that was matched")
    parser.add_argument("--port", type=int, default=8765, help="port on 127.0.0.1 (default: %(default)s)")
    parser.add_argument("--top", type=int, default=1000, help="findings to look at (default: %(default)s)")
    parser.add_argument(
        "--agreement",
        action="store_true",
        help="print what was said, Cohen's kappa and disagreements, and end",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serves the page, or says how far the annotators agree."""
    if arguments.agreement:
        result = agreement_of(arguments.run)
        print(json.dumps(result, indent=1) if arguments.json else "\n".join(agreement_lines(result)))
        return 0
    if arguments.top < 1:
        raise ConfigError(f"top must be at least 1, got {arguments.top}")
    if not 0 <= arguments.port < 65536:
        raise ConfigError(f"port must be 0 to 65535, got {arguments.port}")
    from memcore.annotate.server import serve

    def ready(links: dict[int, str]) -> None:
        if arguments.json:
            print(json.dumps({"links": links}), flush=True)
            return
        for annotator, link in links.items():
            print(f"annotator {annotator}: {link}", flush=True)
        print(
            "Give each their own link. Answers are saved at once; Ctrl-C ends.", file=sys.stderr, flush=True
        )

    serve(arguments.run, port=arguments.port, top=arguments.top, ready=ready)
    return 0


def agreement_of(run: Path) -> dict[str, Any]:
    """What both annotators said, as ``--agreement --json`` prints it."""
    from memcore.report.run import read_run
    from memcore.runs.annotations import ANNOTATORS, LABELS, Annotations

    read = read_run(run)
    prompts = {int(row["prompt_id"]): str(row["prompt"]) for row in read.findings}
    with Annotations.open(run, str(read.settings["run"].get("digest", ""))) as annotations:
        items = annotations.items()
        found = annotations.agreement()
        labels = {annotator: annotations.labels(annotator) for annotator in ANNOTATORS}
    return {
        "items": len(items),
        "annotators": {
            str(annotator): {label: list(given.values()).count(label) for label in LABELS}
            for annotator, given in labels.items()
        },
        "both": found.both,
        "observed": found.observed,
        "kappa": found.kappa,
        "copies": found.counts.get(("copy", "copy"), 0),
        "disagreements": [
            {
                "item": item,
                "prompt_id": items[item].prompt_id,
                "clique": items[item].clique,
                "prompt": prompts.get(items[item].prompt_id, ""),
                "first": first,
                "second": second,
            }
            for item, first, second in found.disagreements
        ],
    }


def agreement_lines(result: dict[str, Any]) -> list[str]:
    lines = [
        f"annotator {annotator}: {sum(counts.values())} of {result['items']} done, "
        + ", ".join(f"{count} {label}" for label, count in counts.items())
        for annotator, counts in result["annotators"].items()
    ]
    if not result["both"]:
        return [*lines, "no item has two answers yet"]
    kappa = (
        "undefined (one and the same answer to all)" if result["kappa"] is None else f"{result['kappa']:.3f}"
    )
    lines.append(
        f"{result['both']} items have two answers: {result['observed']:.1%} agree, Cohen's kappa {kappa}, "
        f"{result['copies']} are copies to both"
    )
    for d in result["disagreements"]:
        lines.append(
            f"  rank {d['item'] + 1}, prompt {d['prompt_id']} {d['prompt']!r}: {d['first']} / {d['second']}"
        )
    return lines
