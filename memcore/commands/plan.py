"""``memcore plan``: what a run would take, before it starts."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

AddCommand = Callable[[Any, str, str, Callable[[argparse.Namespace], int]], argparse.ArgumentParser]
Print = Callable[[argparse.Namespace, dict[str, Any], list[str]], None]


def register(commands: Any, add: AddCommand, show: Print) -> None:
    """Adds the command."""
    plan = add(
        commands,
        "plan",
        "hours, bytes, files and cost of a run, from a few seconds of its work",
        lambda arguments: _plan(arguments, show),
    )
    plan.add_argument("config", type=Path, metavar="CONFIG", help="TOML file, as for memcore audit or filter")
    plan.add_argument("--seconds", type=float, default=5.0, help="to measure for (default: %(default)s)")
    plan.add_argument(
        "--workers", type=int, help="processes a machine (default: one a processor; on a GPU one)"
    )
    plan.add_argument(
        "--machines", type=int, default=1, help="for Ray and SLURM, each as this one (default: %(default)s)"
    )
    plan.add_argument("--price-per-hour", type=float, dest="price", help="of one machine, in any currency")
    plan.add_argument(
        "--memorised", type=float, help="share of prompts with a clique (default: the paper's 94 of 350,000)"
    )


def _plan(arguments: argparse.Namespace, show: Print) -> int:
    import math

    from memcore.audit.estimate import MEMORISED, estimate, measure
    from memcore.errors import ConfigError
    from memcore.runs.config import from_mapping, read_toml
    from memcore.runs.prompts import read_prompts
    from memcore.sources.stored import stored_prompts
    from memcore.system.cpus import processors

    if not (math.isfinite(arguments.seconds) and arguments.seconds > 0):
        raise ConfigError(f"seconds must be more than 0, got {arguments.seconds}")
    values = read_toml(arguments.config)
    values.setdefault("source", "stored" if values.get("images") and not values.get("model") else "diffusers")
    config = from_mapping(values)
    images = None
    if config.source == "stored":
        stored = stored_prompts(config)
        prompts = list(stored.prompts)
        images = sum(stored.count(i) for i in range(len(prompts)))
    else:
        if not config.prompts:
            raise ConfigError("prompts is missing: a text file with one prompt a line")
        prompts = list(read_prompts(Path(config.prompts)))
    workers = arguments.workers or (processors() if config.device == "cpu" else 1)
    result = estimate(
        config,
        prompts,
        measure(config, prompts, seconds=arguments.seconds),
        workers=workers,
        machines=arguments.machines,
        price=arguments.price,
        memorised=MEMORISED if arguments.memorised is None else arguments.memorised,
        images=images,
    )
    show(arguments, result, plan_lines(result))
    return 0


def plan_lines(result: dict[str, Any]) -> list[str]:
    """The plan in words and a table."""
    m, assumed = result["measured"], result["assumed"]
    height, width, channels = m["image_shape"]
    decoder = "" if m["decoder"] is None else f", {100 * m['decoder']:.0f} % of it in the decoder"
    lines = [
        f"measured with one worker on this machine, {m['images']} images of {height}x{width}x{channels}:",
        f"  an image {_time(m['image'])} ({_time(m['image_low'])} to {_time(m['image_high'])}){decoder}",
        f"  a prompt's distances and cliques {_time(m['graph'])} (measured with {m['graph_images']} images)",
        f"  loading {_time(m['load'])}, an image as PNG {_time(m['png'])} and {m['png_bytes']:,} bytes",
    ]
    if m["screen"] is not None:
        lines.append(f"  an image of the screen {_time(m['screen'])}")
    for name, b in result["budgets"].items():
        mark = " (configured)" if name == result["configured"] else ""
        saved = f", {100 * b['saved']:.1f} % saved" if b["saved"] > 0 else ""
        lines += [
            "",
            f"{name}{mark}: {result['prompts']:,} prompts, {b['images']:,} images{saved}",
            f"  work of one worker {_hours(b['worker_hours'])} "
            f"({_hours(b['worker_hours_low'])} to {_hours(b['worker_hours_high'])})",
            f"  {b['files']:,} files, {_bytes(b['bytes'])}",
        ]
        for launcher, plan in b["launchers"].items():
            cost = "" if plan["cost"] is None else f", cost {plan['cost']:,.2f}"
            machines = f"{plan['machines']} machine{'s' * (plan['machines'] != 1)}"
            lines.append(
                f"  {launcher:5} {machines}, {plan['workers']} workers: {_hours(plan['hours'])}{cost}"
            )
    lines += [
        "",
        f"An extrapolation: {100 * assumed['memorised']:.3g} % of the prompts are taken to be memorised, all workers to be "
        "as fast as one alone (on one CPU they share its memory), and all machines to be as this one.",
    ]
    return lines


def _time(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{1e6 * seconds:.0f} us"
    return f"{1e3 * seconds:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _hours(hours: float) -> str:
    if hours < 1 / 60:
        return f"{3600 * hours:.1f} s"
    if hours < 1:
        return f"{60 * hours:.1f} min"
    return f"{hours:,.1f} h" if hours < 1e4 else f"{hours:,.0f} h"


def _bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} bytes" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"
