"""A shard whose images come from a hosted model: answers are kept before they are used, and nothing is paid twice."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

from memcore.audit.context import ShardContext
from memcore.errors import ArgumentValueError, ConfigError
from memcore.runs.folder import Shard
from memcore.sampling.protocol import asks_once
from memcore.sampling.received import Received, Spent, count_spent


@contextlib.contextmanager
def receiving(context: ShardContext, shard: Shard) -> Iterator[None]:
    """Have the context's sampler keep what it receives in the shard's journal, if it asks for each image once."""
    source: Any = context.source
    if not asks_once(source):
        yield
        return
    received = Received(context.folder.received(shard), context.spending)
    source.keep_in(received)
    try:
        yield
    finally:
        source.keep_in(Received())
        received.close()


def read_shard_spent(context: ShardContext, shard: Shard) -> Spent | None:
    """Return what was received for a shard, and what it cost; None where its images have no price and are made here."""
    if not asks_once(context.source):
        return None
    return count_spent(context.folder.received(shard).records)


def remove_received(context: ShardContext, shard: Shard, spent: Spent | None) -> None:
    """Remove what was received for a finished shard, where it can be received again and costs nothing."""
    if spent is not None and spent.cost is None and getattr(context.source, "takes_seeds", True):
        journal = context.folder.received(shard)
        journal.remove(list(journal.segments))


def read_money(value: object, name: str) -> Decimal | None:
    """Return an amount of money as it was written, so that sums have no rounding; None for None.

    Raises ArgumentValueError.

    >>> read_money("0.04", "price_per_image")
    Decimal('0.04')
    """
    if value is None:
        return None
    if isinstance(value, str | int | float | Decimal) and not isinstance(value, bool):
        with contextlib.suppress(InvalidOperation):
            amount = Decimal(str(value))
            if (
                amount.is_finite()
                and amount > 0
                and math.isfinite(float(amount))
                and amount >= Decimal("1e-12")
            ):
                return amount
    raise ArgumentValueError(f"{name} must be an amount above 0, such as 0.04, got {value!r}")


def check_spending(price: Decimal | None, limit: Decimal | None, *, hosted: bool, processes: bool) -> None:
    """Refuse a price where nothing is paid for, and a limit that nobody could hold. ``processes``: more than one counts.

    Raises ConfigError.
    """
    if limit is not None and price is None:
        raise ConfigError("max_cost needs price_per_image, the price of an image in the same currency")
    if price is not None and not hosted:
        raise ConfigError(
            "price_per_image is of a hosted model (--sampler http): no other sampler is asked for each image once"
        )
    if limit is not None and processes:
        raise ConfigError(
            "max_cost needs one worker, which counts what is spent: leave out workers, part and launcher, and give the "
            "sampler a higher concurrency"
        )
