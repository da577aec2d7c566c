"""The tables of run.toml as types. A damaged one may still be TOML, and would end a command in the middle of its work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict, get_type_hints

from memcore.conditions import CONDITIONS
from memcore.errors import RunError
from memcore.sampling.screen import SCORES
from memcore.system.parsing import check_shape, parse_json

#: Prompts of the largest run: a damaged count must not take all memory.
MOST_PROMPTS = 10**9
#: What every command that reads a run needs.
_NEEDED = {"graph": ("threshold", "grid", "min_clique"), "prompts": ("count",)}


class RunTable(TypedDict, total=False):
    """The table [run] of run.toml."""

    format: int
    digest: str
    created: str
    memcore: str
    seed: int


class GraphTable(TypedDict, total=False):
    """The table [graph] of run.toml: the settings that decide which pairs are near, and which cliques are findings."""

    threshold: float
    grid: tuple[int, int]
    min_clique: int


class BudgetTable(TypedDict, total=False):
    """The table [budget] of run.toml."""

    rule: str
    generations: int
    copy_rate: float
    miss_rate: float
    look_every: int
    stops: list[object]


class ScreenTable(TypedDict, total=False):
    """The table [screen] of run.toml."""

    score: str
    threshold: float
    seeds: int
    guidance: float


class PromptsTable(TypedDict, total=False):
    """The table [prompts] of run.toml."""

    count: int
    source: str
    digest: str
    blank: int
    repeated: int
    conditions: list[str]


class SamplerTable(TypedDict, total=False):
    """The table [sampler] of run.toml."""

    kind: str
    fingerprint: str
    describe: dict[str, str]


class RunMeta(TypedDict, total=False):
    """run.toml; runs of format 1 lack some of it."""

    run: RunTable
    config: dict[str, Any]
    graph: GraphTable
    budget: BudgetTable
    screen: ScreenTable
    prompts: PromptsTable
    sampler: SamplerTable


def check_meta(meta: Mapping[str, Any]) -> None:
    """Raise ValueError, whose text follows the file's name, unless this is the content of a run.toml.

    >>> check_meta({"graph": {"threshold": "near"}})
    Traceback (most recent call last):
    ValueError: is damaged: [graph].threshold is 'near', not a finite number
    """
    for table, kind in get_type_hints(RunMeta).items():
        if table in meta:
            check_table(meta[table], kind, table)
    needed = {**_NEEDED, "screen": ("score", "threshold")} if meta.get("screen") else _NEEDED
    for table, names in needed.items():
        for name in names:
            if name not in meta.get(table, {}):
                raise ValueError(f"has no {name!r} in its table [{table}]")
    if not 0 <= (count := meta["prompts"]["count"]) <= MOST_PROMPTS:
        raise ValueError(f"is damaged: it speaks of {count} prompts")
    if not 0 <= (threshold := meta["graph"]["threshold"]) <= 1:
        raise ValueError(f"is damaged: [graph].threshold is {threshold:g}, not a number in [0, 1]")
    if meta.get("screen") and (score := meta["screen"]["score"]) not in SCORES:
        raise ValueError(f"is damaged: [screen].score is {score!r}, not one of {', '.join(SCORES)}")
    for kind in meta["prompts"].get("conditions", ()):
        if kind not in CONDITIONS:
            raise ValueError(
                f"is damaged: [prompts].conditions has {kind!r}, not one of {', '.join(CONDITIONS)}"
            )


def check_table(value: Any, kind: Any, table: str) -> None:
    """Raise ValueError unless a table of run.toml has its type."""
    try:
        check_shape(value, kind, f"[{table}]")
    except ValueError as error:
        raise ValueError(f"is damaged: {error}") from None


def read_left_out(described: Mapping[str, Any]) -> dict[str, int]:
    """Return, of a filter's run, how many files beside its prompts were left out, by reason; ``described`` says the sampler.

    Raises RunError if it is damaged.
    """
    try:
        left_out = parse_json(str(described.get("left_out", "{}")))
        check_shape(left_out, dict[str, int], "left_out")
    except ValueError as error:
        raise RunError(f"run.toml is damaged: {error} in [sampler.describe]") from None
    counts: dict[str, int] = left_out
    return counts
