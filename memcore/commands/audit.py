"""``memcore audit``, and what ``memcore filter`` shares with it: the answer about a run."""

from __future__ import annotations

import argparse
from typing import Any

from memcore.commands import _options
from memcore.commands._answer import Answer
from memcore.commands._checks import read_part, verdict_code
from memcore.commands._submit import submitted

NAME = "audit"
HELP = "sample a model, build a graph of each prompt's images, find cliques"
RUN_HELP = "the run's folder or URL; an existing run is resumed"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run, its configuration, its workers and its launcher."""
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    _options.add_configuration(parser, "sampled")
    _options.add_workers(parser)
    _options.add_launcher(parser)
    _options.add_allow_incomplete(parser)


def run(arguments: argparse.Namespace) -> Answer:
    """Audit the model, or submit the audit to SLURM."""
    from memcore.audit import audit

    existing = _options.open_existing(arguments)
    config = _options.read_configuration(arguments, "sampled", existing)
    if answer := submitted(arguments):
        return answer
    return answer_about(arguments, audit(existing or arguments.run, config, **run_options(arguments)))


def run_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what the flags say about workers, launcher and part."""
    return {
        "workers": arguments.workers,
        "threads": arguments.threads,
        "part": read_part(arguments.part),
        "quiet": arguments.quiet,
        "retry": arguments.retry,
        "retry_failed": arguments.retry_failed,
        "launcher": arguments.launcher,
        "ray_address": arguments.ray_address,
    }


def answer_about(arguments: argparse.Namespace, folder: Any) -> Answer:
    """Return the run's summary; what was not decided makes it exit code 5."""
    from memcore.runs.completeness import not_decided_lines
    from memcore.runs.freshness import stale_lines
    from memcore.runs.summary import summary

    result = summary(folder)
    lines = [
        *_run_lines(result),
        *not_decided_lines(result["not_decided"]),
        *stale_lines(result["stale"]),
    ]
    return Answer(result, lines, verdict_code(arguments, result["not_decided"]))


def _run_lines(result: dict[str, Any]) -> list[str]:
    lines = [
        f"{result['done']} of {result['prompts']} prompts, {result['generated']} images: "
        f"{result['candidates']} prompts with a clique"
    ]
    if blank := result.get("prompts_blank"):
        lines.append(f"{blank} blank lines of the list of prompts were left out")
    if repeated := result.get("prompts_repeated"):
        lines.append(f"{repeated} prompts repeat an earlier one of the list; each is sampled by itself")
    if result["screened"]:
        lines.append(
            f"{result['screened']} prompts were screened out: not sampled, their first step scored too low"
        )
    early = {name: count for name, count in result["stops"].items() if name not in ("all", "screened")}
    if early:
        lines.append("stopped early: " + ", ".join(f"{count} {name}" for name, count in early.items()))
    if result["excluded"]:
        lines.append(f"{result['excluded']} black or constant images were left out")
    if result["quarantined"]:
        lines.append(f"{result['quarantined']} entries were quarantined (see {result['run']}/quarantine)")
    if result["shards_given_up"]:
        lines.append(
            f"{result['shards_given_up']} shards failed three times and were given up; --retry does them again"
        )
    return lines
