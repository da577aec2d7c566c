"""Compute hours, bytes, files and cost of a whole run from measured speeds."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypedDict

from memcore.audit.estimate.measure import Measured
from memcore.engine import launchers
from memcore.errors import ArgumentValueError
from memcore.runs.config import Config
from memcore.runs.folder import shard_size
from memcore.sampling.boundary import outcome
from memcore.sampling.budget import Sequential

#: Share of prompts that are memorised where nothing is known: the paper's 94 of 350,000.
MEMORISED = 94 / 350_000
#: Seconds until a Ray cluster of this machine takes tasks; measured once, docs/scale.md.
RAY_START_SECONDS = 5.0
#: Bytes of a prompt's row in the findings without its text, and of a finding's row.
_ROW_BYTES, _FINDING_BYTES = 40, 600


class LauncherPlan(TypedDict):
    """One way to start the run: on how many machines, with how many workers in all, for how long and at what cost."""

    machines: int
    workers: int
    hours: float
    cost: float | None


class FolderPlan(TypedDict):
    """What the run's folder will hold."""

    shards: int
    files: int
    bytes: int


class BudgetPlan(FolderPlan):
    """The whole run under one budget; hours are those of one worker."""

    images: int
    #: What a hosted model takes for them, as text; None without a price.
    images_cost: str | None
    saved: float
    worker_hours: float
    worker_hours_low: float
    worker_hours_high: float
    stages_hours: dict[str, float]
    launchers: dict[str, LauncherPlan]


class Assumed(TypedDict):
    """What was not measured."""

    memorised: float
    workers: int
    machines: int
    price: float | None
    price_per_image: str | None


class Plan(TypedDict):
    """What ``memcore plan --json`` prints."""

    prompts: int
    configured: str
    measured: dict[str, Any]
    assumed: Assumed
    budgets: dict[str, BudgetPlan]


def estimate(
    config: Config,
    prompts: Sequence[str],
    measured: Measured,
    *,
    workers: int,
    machines: int = 1,
    price: float | None = None,
    memorised: float = MEMORISED,
    images: int | None = None,
    price_per_image: Decimal | None = None,
) -> Plan:
    """Return hours, bytes, files and cost of the whole run, with the fixed budget and with the sequential one.

    ``workers`` a machine; ``price`` of a machine for an hour; ``memorised`` the share of prompts with a clique. ``images``
    is the number stored, where nothing is sampled; ``price_per_image`` is what a hosted model takes. Memorised prompts are
    taken to be at the copy rate, which takes longest.
    """
    for name, value in (("workers", workers), ("machines", machines)):
        if value < 1:
            raise ArgumentValueError(f"{name} must be at least 1, got {value}")
    if not 0 <= memorised <= 1:
        raise ArgumentValueError(f"memorised must lie between 0 and 1, got {memorised}")
    if price is not None and not (math.isfinite(price) and price >= 0):
        raise ArgumentValueError(f"price must be at least 0, got {price}")
    count = len(prompts)
    rule = Sequential(config.copy_rate, config.miss_rate, config.generations, config.min_clique)
    most = float(config.generations) if images is None else images / count
    budgets = {"fixed": most}
    if config.source != "stored":
        budgets["sequential"] = _sequential_images(rule, memorised)
    result: Plan = {
        "prompts": count,
        "configured": config.budget,
        "measured": dataclasses.asdict(measured),
        "assumed": {
            "memorised": memorised,
            "workers": workers,
            "machines": machines,
            "price": price,
            "price_per_image": None if price_per_image is None else str(price_per_image),
        },
        "budgets": {},
    }
    for name, per_prompt in budgets.items():
        work, stages = _work(config, measured, count, per_prompt, memorised)
        low = work + count * per_prompt * (measured.image_low - measured.image)
        high = work + count * per_prompt * (measured.image_high - measured.image)
        result["budgets"][name] = {
            "images": round(count * per_prompt),
            "images_cost": None
            if price_per_image is None
            else str(round(count * per_prompt) * price_per_image),
            "saved": 1 - per_prompt / most,
            "worker_hours": work / 3600,
            "worker_hours_low": low / 3600,
            "worker_hours_high": high / 3600,
            "stages_hours": {stage: seconds / 3600 for stage, seconds in stages.items()},
            **_stored(config, measured, prompts, per_prompt, memorised),
            "launchers": _launchers(work, measured, workers, machines, price),
        }
    return result


def _sequential_images(rule: Sequential, memorised: float) -> float:
    """Return the expected images a prompt.

    A prompt without copies needs as many as the first stop, one with copies at most the worst case.
    """
    without = rule.boundary.stop_at(1) or rule.generations
    worst = float(outcome(rule.boundary, Fraction(str(rule.copy_rate))).images) + rule.look_every
    return (1 - memorised) * without + memorised * min(float(rule.generations), worst)


def _work(
    config: Config, measured: Measured, count: int, per_prompt: float, memorised: float
) -> tuple[float, dict[str, float]]:
    """Return the seconds of one worker for everything, and by stage."""
    verb = "read" if config.source == "stored" else "sample"
    written = per_prompt if config.keep == "all" else memorised * config.min_clique
    stages = {
        verb: count * per_prompt * measured.image,
        # fewer images have fewer pairs: in proportion is an upper bound
        "graph": count * measured.graph * min(1.0, per_prompt / config.generations),
        "write": count * written * measured.png,
    }
    if measured.screen is not None:
        stages["screen"] = count * config.screen_seeds * measured.screen
    return sum(stages.values()), stages


def _stored(
    config: Config, measured: Measured, prompts: Sequence[str], per_prompt: float, memorised: float
) -> FolderPlan:
    """Return files and bytes of the run's folder."""
    count = len(prompts)
    shards = shard_count(config, count)
    pictures = count * (per_prompt if config.keep == "all" else memorised * config.min_clique)
    text = _text_bytes(prompts)
    rows = 2 * text + count * _ROW_BYTES + count * memorised * _FINDING_BYTES
    return {
        "shards": shards,
        "files": round(2 * shards + 2 + pictures),
        "bytes": round(rows + 500 * shards + pictures * measured.png_bytes),
    }


def shard_count(config: Config, prompts: int) -> int:
    """Return how many shards the run is cut into."""
    return -(-prompts // shard_size(config, prompts))


def _text_bytes(prompts: Sequence[str]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(pa.table({"prompt": list(prompts)}), sink, compression="zstd")
    return len(sink.getvalue())


def _launchers(
    work: float, measured: Measured, workers: int, machines: int, price: float | None
) -> dict[str, LauncherPlan]:
    """Return wall hours and cost of each way to start the run; every worker loads the model once."""
    result: dict[str, LauncherPlan] = {}
    for name in launchers.names():
        used = 1 if name == "local" else machines
        start = RAY_START_SECONDS if name == "ray" else 0.0
        hours = (start + measured.load + work / (used * workers)) / 3600
        cost = None if price is None else hours * used * price
        result[name] = {"machines": used, "workers": used * workers, "hours": hours, "cost": cost}
    return result
