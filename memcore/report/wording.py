"""Write numbers and texts as the page shows them."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from memcore.evaluation.result import Proportion
from memcore.system.units import count as count

PROMPT_LENGTH = 400
CELL_LENGTH = 120
NAME_LENGTH = 60
#: Lists that are examples (failures, reasons, misses) end here and say how many more there are.
EXAMPLES = 100


def tidy(text: object, limit: int = CELL_LENGTH) -> str:
    """Return one line of at most ``limit`` characters: white space joined, control characters and overrides made visible."""
    clean = " ".join(str(text)[: 8 * limit].split())
    if not clean.isprintable():
        clean = "".join(
            "\ufffd" if unicodedata.category(c) in ("Cc", "Cs") or _turns(c) else c for c in clean
        )
    return clean if len(clean) <= limit else clean[: limit - 1].rstrip() + "…"


def _turns(character: str) -> bool:
    """Return whether a character reorders the text around it: a prompt must not rewrite the page."""
    return "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069"


def percent(part: float) -> str:
    """Write a share in [0, 1].

    >>> percent(0.8125), percent(0.004), percent(1.0)
    ('81 %', '0.4 %', '100 %')
    """
    return f"{100 * part:.1f} %" if 0 < part < 0.095 else f"{100 * part:.0f} %"


def duration(seconds: float) -> str:
    """Write a time in seconds.

    >>> duration(61.53), duration(754), duration(90000)
    ('61.5 s', '12.6 min', '25.0 h')
    """
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def size(bytes_: int) -> str:
    """Write a number of bytes.

    >>> size(2_345_678), size(81_920)
    ('2.3 MB', '82 kB')
    """
    return f"{bytes_ / 1e6:.1f} MB" if bytes_ >= 1_000_000 else f"{bytes_ / 1e3:.0f} kB"


def rate(value: float) -> str:
    """Write a number of images a second.

    >>> rate(1234.5), rate(26.04), rate(0.25)
    ('1,234', '26.0', '0.25')
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def proportion(value: float | None) -> str:
    """Write a precision or recall; a dash where nothing was counted."""
    return "–" if value is None else f"{value:.3f}"


def interval(estimate: Proportion) -> str:
    """Write an interval's ends, never parted by a line break."""
    return f"{estimate['low']:.3f}\u00a0to\u00a0{estimate['high']:.3f}"


def listed(words: Sequence[str], limit: int = 6) -> str:
    """List words, and count those after the first ``limit``.

    >>> listed(["a", "b", "c"]), listed(["a", "b", "c"], 2)
    ('a, b and c', 'a, b and 1 more')
    """
    if len(words) > limit:
        return f"{', '.join(words[:limit])} and {len(words) - limit:,} more"
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1]))) if words else ""


def flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten nested tables: their names joined by dots, and their values as text.

    >>> flatten({"graph": {"grid": [4, 4]}, "seed": 1})
    {'graph.grid': '4 x 4', 'seed': '1'}
    """
    flat: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        elif isinstance(value, list | tuple):
            between = " x " if all(isinstance(v, int) for v in value) else ", "
            flat[f"{prefix}{key}"] = between.join(map(str, value))
        else:
            flat[f"{prefix}{key}"] = str(value)
    return flat


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """List what sets one run's settings apart from another's, by the last part of each name; digests and paths left out.

    >>> differences({"call": {"guidance": 1.0, "steps": 20}}, {"call": {"guidance": 7.5, "steps": 20}})
    ['guidance 7.5 instead of 1.0']
    """
    ignored = (
        "digest",
        "fingerprint",
        "created",
        "prompts",
        "images",
        "model",
        "source",
        "count",
        "memcore",
        "shard_prompts",
        "seal",
        "bytes",
        "sha256",
        "chunks",
    )
    before, after = flatten(old), flatten(new)
    lines: dict[str, str] = {}
    for name in [*after, *(name for name in before if name not in after)]:
        short = name.rsplit(".", 1)[-1]
        if (
            before.get(name) != after.get(name)
            and short not in ignored
            and not name.startswith("sampler.describe.component")
        ):
            was, now = (tidy(side.get(name, "not set"), 40) for side in (before, after))
            lines.setdefault(short, f"{short.replace('_', ' ')} {now} instead of {was}")
    return list(lines.values())
