"""What a run received from a hosted model, and what it cost: read from its folder alone."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from memcore.errors import DamagedFileError
from memcore.runs import layout
from memcore.runs.folder import RunFolder
from memcore.sampling.received import Spent, count_spent
from memcore.system.units import count


def read_spent(folder: RunFolder) -> Spent | None:
    """Return what was received from a hosted model so far, and what it cost; None where nothing was.

    Raises DamagedFileError for records that nobody wrote so.
    """
    total: Spent | None = None
    counted = set()
    try:
        for shard, manifest in zip(folder.done(), folder.manifests(), strict=True):
            if (told := manifest.get("received")) is not None:
                total = (total or Spent()).plus(Spent.from_dict(told))
                counted.add(shard.task)
        tasks = {name.partition(".")[0] for name in folder.storage.names(layout.RECEIVED)} - counted
        for shard in folder.shards() if tasks else ():
            if shard.task in tasks:
                total = (total or Spent()).plus(count_spent(folder.received(shard).records))
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(
            f"{folder.place}: what was received cannot be counted, a record of {layout.RECEIVED}/ or a manifest is damaged "
            f"({type(error).__name__})"
        ) from None
    return total


def spent_lines(spent: Mapping[str, Any] | None) -> list[str]:
    """Return what is said of a hosted model's images: one line, or none; ``spent`` is what ``Spent.as_dict`` made.

    >>> spent_lines({"images": 500, "unanswered": 4, "cost": "20.00", "unanswered_cost": "0.16"})
    ['spent: 20.00 for 500 images received; 4 images never came, which the server may bill too (0.16)']
    """
    if spent is None:
        return []
    received = f"{count(spent['images'], 'image')} received"
    line = received if spent["cost"] is None else f"spent: {_money(spent['cost'])} for {received}"
    if spent["unanswered"]:
        line += (
            f"; {count(spent['unanswered'], 'image')} never came, which the server may bill too "
            f"({_money(spent['unanswered_cost'])})"
        )
    return [line]


def _money(amount: str | None) -> str:
    return str(Decimal(amount or 0))
