"""``memcore plan``: what a run would take, before it starts."""

from __future__ import annotations

import argparse
import itertools
import math
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from memcore.commands._answer import Answer
from memcore.errors import ConfigError
from memcore.system.units import count, format_bytes, format_hours, format_seconds

if TYPE_CHECKING:
    from memcore.audit.estimate import Plan
    from memcore.runs.prompts import Entry

#: Prompts that are worked on to measure.
_MEASURED = 64
NAME = "plan"
HELP = "estimate hours, bytes, files and cost of a run, from a few seconds of its work"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the configuration and the machines."""
    parser.add_argument(
        "config", type=Path, metavar="CONFIG", help="TOML file, as for memcore audit or filter"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="to measure for (default: %(default)s)")
    parser.add_argument(
        "--workers", type=int, help="processes a machine (default: one for each processor; one on a GPU)"
    )
    parser.add_argument(
        "--machines", type=int, default=1, help="for Ray and SLURM, each as this one (default: %(default)s)"
    )
    parser.add_argument("--price-per-hour", type=float, dest="price", help="of one machine, in any currency")
    parser.add_argument("--price-per-image", metavar="AMOUNT", help="of a hosted model, in any currency")
    parser.add_argument(
        "--memorised", type=float, help="share of prompts with a clique (default: the paper's 94 of 350,000)"
    )


def run(arguments: argparse.Namespace) -> Answer:
    """Work for some seconds and extrapolate."""
    from memcore.audit.conditions import read_prompt_list, with_image_size
    from memcore.audit.estimate import MEMORISED, estimate, measure
    from memcore.audit.receiving import read_money
    from memcore.audit.source import check_model, stored_prompts
    from memcore.runs.config_file import from_mapping, read_toml
    from memcore.system.cpus import processors
    from memcore.system.progress import say

    if not (math.isfinite(arguments.seconds) and arguments.seconds > 0):
        raise ConfigError(f"seconds must be more than 0, got {arguments.seconds}")
    values = read_toml(arguments.config)
    source = "stored" if values.get("images") and not values.get("model") else "diffusers"
    values.setdefault("source", "custom" if values.get("sampler") else source)
    config = from_mapping(values)
    images = None
    if config.source == "stored":
        stored = stored_prompts(config)
        prompts = list(stored.prompts)
        measured_with: list[Entry] = list(prompts)
        images = sum(stored.count(i) for i in range(len(prompts)))
    else:
        if config.source == "diffusers":
            check_model(config.model)
        listed = read_prompt_list(config)
        config = with_image_size(config, listed)
        prompts = [entry if isinstance(entry, str) else entry[0] for entry in listed]
        measured_with = list(
            itertools.islice(listed, _MEASURED)
        )  # given images may be more than the memory holds
        if not prompts:
            raise ConfigError(f"prompts={config.prompts}: there is not a single prompt")
        say(f"loading {config.model or config.sampler}", quiet=False)
    workers = arguments.workers or (processors() if config.device == "cpu" else 1)
    result = estimate(
        config,
        prompts,
        measure(config, measured_with, seconds=arguments.seconds),
        workers=workers,
        machines=arguments.machines,
        price=arguments.price,
        memorised=MEMORISED if arguments.memorised is None else arguments.memorised,
        images=images,
        price_per_image=read_money(arguments.price_per_image, "price_per_image"),
    )
    return Answer(result, plan_lines(result))


def plan_lines(plan: Plan) -> list[str]:
    """Return the plan in words and a table."""
    return [*_measured_lines(plan), *_budget_lines(plan), "", _assumption(plan)]


def _measured_lines(plan: Plan) -> list[str]:
    m = plan["measured"]
    height, width, channels = m["image_shape"]
    decoder = "" if m["decoder"] is None else f", {100 * m['decoder']:.0f} % of it in the decoder"
    low, high = format_seconds(m["image_low"]), format_seconds(m["image_high"])
    graph = f"a prompt's distances and cliques {format_seconds(m['graph'])}"
    lines = [
        f"measured with one worker on this machine, {count(m['images'], 'image')} of {height}x{width}x{channels}:",
        f"  an image {format_seconds(m['image'])} ({low} to {high}){decoder}",
        f"  {graph} (measured with {count(m['graph_images'], 'image')})",
        f"  loading {format_seconds(m['load'])}, an image as PNG {format_seconds(m['png'])} and {m['png_bytes']:,} bytes",
    ]
    if (price := plan["assumed"]["price_per_image"]) is not None:
        lines.append(
            f"  these images were asked for at {price} each: {m['images'] * Decimal(price)} was spent on measuring"
        )
    if m["screen"] is not None:
        lines.append(f"  an image of the screen {format_seconds(m['screen'])}")
    return lines


def _budget_lines(plan: Plan) -> list[str]:
    lines: list[str] = []
    for name, budget in plan["budgets"].items():
        mark = " (configured)" if name == plan["configured"] else ""
        saved = f", {100 * budget['saved']:.1f} % saved" if budget["saved"] > 0 else ""
        low, high = format_hours(budget["worker_hours_low"]), format_hours(budget["worker_hours_high"])
        lines += [
            "",
            f"{name}{mark}: {count(plan['prompts'], 'prompt')}, {count(budget['images'], 'image')}{saved}",
            *([f"  images cost {budget['images_cost']}"] if budget["images_cost"] is not None else []),
            f"  work of one worker {format_hours(budget['worker_hours'])} ({low} to {high})",
            f"  {count(budget['files'], 'file')}, {format_bytes(budget['bytes'])}",
        ]
        for launcher, way in budget["launchers"].items():
            cost = "" if way["cost"] is None else f", cost {way['cost']:,.2f}"
            machines = count(way["machines"], "machine")
            hours = format_hours(way["hours"])
            lines.append(f"  {launcher:5} {machines}, {count(way['workers'], 'worker')}: {hours}{cost}")
    return lines


def _assumption(plan: Plan) -> str:
    return (
        f"An extrapolation: {100 * plan['assumed']['memorised']:.3g} % of the prompts are taken to be memorised, all "
        "workers to be as fast as one alone (on one CPU they share its memory), and all machines to be as this one."
    )
