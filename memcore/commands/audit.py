"""``memcore audit``, and what ``memcore filter`` shares with it: the answer about a run."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING, Any

from memcore.commands import _options
from memcore.commands._answer import Answer
from memcore.commands._checks import read_part, verdict_code
from memcore.commands._submit import submitted
from memcore.errors import ConfigError

if TYPE_CHECKING:
    from memcore.runs.folder import RunFolder

EXAMPLES = (
    "memcore audit RUN --model FOLDER --prompts prompts.txt --steps 50 --guidance-scale 7.5",
    "memcore audit RUN --sampler mine:make --prompts prompts.csv --generations 100",
    """memcore audit RUN --sampler http --sampler-options '{"endpoint":"https://host/v1"}' --prompts prompts.txt""",
    "memcore audit RUN --config audit.toml --workers 4",
)
NAME = "audit"
HELP = "sample a model, build a graph of each prompt's images, find cliques"
RUN_HELP = "the run's folder or URL; an existing run is resumed"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run, its configuration, its workers and its launcher."""
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    _options.add_configuration(parser, "sampled")
    _options.add_workers(parser)
    parser.add_argument(
        "--journal-bytes",
        type=int,
        metavar="BYTES",
        help="disk that each worker's images of unfinished prompts may take, so that a kill costs a minute at most; 0 keeps "
        "none (default: 4294967296)",
    )
    group = parser.add_argument_group("cost of a hosted model", "What its images cost, and when to stop.")
    group.add_argument(
        "--price-per-image",
        metavar="AMOUNT",
        help="price of an image, in any currency: what is spent is counted",
    )
    group.add_argument(
        "--max-cost",
        metavar="AMOUNT",
        help="stop before the run has cost more than this; the same command with a larger amount resumes it",
    )
    _options.add_launcher(parser)
    _options.add_allow_incomplete(parser)


def run(arguments: argparse.Namespace) -> Answer:
    """Audit the model, or submit the audit to SLURM."""
    from memcore.audit import audit

    existing = _options.open_existing(arguments)
    config = _options.read_configuration(arguments, "sampled", existing)
    if arguments.max_cost is not None and arguments.launcher != "local":
        raise ConfigError("max_cost needs one worker, which counts what is spent: leave out launcher")
    if answer := submitted(arguments):
        return answer
    options = run_options(arguments)
    if arguments.journal_bytes is not None:
        options["journal_bytes"] = arguments.journal_bytes
    if existing is not None and not config.prompts:
        options["prompts"] = existing.prompts  # those that it was started with
    options |= {"price_per_image": arguments.price_per_image, "max_cost": arguments.max_cost}
    return answer_about(arguments, audit(existing or arguments.run, config, **options))


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


def answer_about(arguments: argparse.Namespace, folder: RunFolder) -> Answer:
    """Return the run's summary and what to do next; what was not decided makes it exit code 5."""
    from memcore.runs.completeness import not_decided_lines
    from memcore.runs.failures import failure_line
    from memcore.runs.freshness import stale_lines
    from memcore.runs.summary import summary

    result = summary(folder)
    lines = [*_run_lines(result), *not_decided_lines(result["not_decided"])]
    if result["first_failure"]:
        lines.append(f"{failure_line(result['first_failure'])} (--retry-failed does failed prompts again)")
    lines += stale_lines(result["stale"])
    lines += _next_lines(folder, result)
    return Answer(result, lines, verdict_code(arguments, result["not_decided"]))


def _run_lines(result: dict[str, Any]) -> list[str]:
    from memcore.runs.received import spent_lines
    from memcore.runs.shared_seeds import COUNTED
    from memcore.system.units import count

    lines = [
        f"{result['done']:,} of {count(result['prompts'], 'prompt')}, {count(result['generated'], 'image')}: "
        f"{count(result['candidates'], 'prompt')} with a clique"
    ]
    if blank := result.get("prompts_blank"):
        lines.append(f"{count(blank, 'blank line')} of the list of prompts left out")
    if repeated := result.get("prompts_repeated"):
        repeats = "repeats" if repeated == 1 else "repeat"
        lines.append(
            f"{count(repeated, 'prompt')} {repeats} an earlier one of the list: each is sampled and counted by itself"
        )
    if result["screened"]:
        lines.append(
            f"{count(result['screened'], 'prompt')} screened out: not sampled, since the first step scored too low"
        )
    early = {name: number for name, number in result["stops"].items() if name not in ("all", "screened")}
    if early:
        lines.append("stopped early: " + ", ".join(f"{number:,} {name}" for name, number in early.items()))
    if result["excluded"]:
        lines.append(f"{count(result['excluded'], 'black or constant image')} left out")
    if near := result.get("given_near"):
        lines.append(
            f"{count(near, 'generation')} left out that {'repeats' if near == 1 else 'repeat'} the image they were made from"
        )
    if shared := result.get("seeds_shared"):
        about = "about " if result["generated"] > COUNTED else ""
        lines.append(
            f"{about}{count(shared, 'image')} shared the seed of another prompt's image: the sampler takes "
            f"{count(result['seed_bits'], 'bit')} of a seed. Prompts are never compared with each other"
        )
    if long := result["quarantine_reasons"].get("long-prompt"):
        lines.append(
            f"{count(long, 'prompt')} with more tokens than the model reads: what is cut off changes no image (long-prompt)"
        )
    lines += spent_lines(result.get("spent"))
    if result["quarantined"]:
        reasons = ", ".join(f"{number:,} {reason}" for reason, number in result["quarantine_reasons"].items())
        lines.append(f"{count(result['quarantined'], 'entry', 'entries')} in the quarantine: {reasons}")
    if result["shards_given_up"]:
        lines.append(
            f"{count(result['shards_given_up'], 'shard')} failed three times and had to be given up; "
            "--retry does such shards again"
        )
    return lines


def _next_lines(folder: RunFolder, result: dict[str, Any]) -> list[str]:
    """Return the commands that say more, for what there is."""
    from memcore.runs import layout

    run = shlex.quote(folder.place)
    lines = []
    if result["candidates"]:
        lines.append(f"memcore show {run}: lists the findings, the strongest first")
        if not folder.storage.exists(layout.MATCHES):
            lines.append(f"memcore match {run} --training FOLDER: compares them with a training set")
    if result["failed"]:
        lines.append(f"memcore show {run} failures: lists the prompts that failed")
    if result["quarantined"]:
        lines.append(f"memcore show {run} quarantine: lists what was left out or noticed")
    return lines
