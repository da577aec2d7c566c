"""Time the kernels against their peers: assert the answer, time both in turn, and print the ratio."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from memcore.bench.timing import WrongAnswerError
from memcore.errors import ArgumentValueError

__all__ = ["PARTS", "WrongAnswerError", "run_all", "table"]


#: The parts that can be measured alone, in the order of measuring.
PARTS = ("dense", "graph", "clique", "knn", "stored")


def run_all(
    quick: bool,
    *,
    isa: str | None = None,
    parts: Sequence[str] | None = None,
    progress: Callable[[str], object] | None = None,
) -> list[dict[str, Any]]:
    """Measure, and return the machine, then one dict a measurement (see ``rows.Row``), in plain JSON types.

    ``quick`` uses small inputs and takes about a minute. ``isa`` measures that instruction set instead of the strongest,
    ``parts`` some of ``PARTS``. A part whose answer is wrong is not timed: it gives one row with ``refused`` set and
    the reason in ``note``, and the other parts are still measured. ``progress`` is called with a line for each row,
    since the whole takes minutes. Quick results have no targets. Raises IsaError and ArgumentValueError.
    """
    from memcore import isa as instruction_sets
    from memcore.bench import clique, dense, graph, knn, machine, stored
    from memcore.bench.timing import one_thread

    runs: dict[str, Callable[[bool], Iterable[Any]]] = {
        "dense": dense.run,
        "graph": graph.run,
        "clique": clique.run,
        "knn": knn.run,
        "stored": stored.run,
    }
    wanted = PARTS if parts is None else tuple(parts)
    for part in wanted:
        if part not in runs:
            raise ArgumentValueError(f"part must be one of {', '.join(PARTS)}, got {part!r}")
    with contextlib.nullcontext() if isa is None else instruction_sets.using(isa):
        results = [machine.describe(quick)]
        with one_thread():
            for part in wanted:
                results += collect(part, _reported(runs[part](quick), progress))
    return without_targets(results) if quick else results


def without_targets(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the results without a verdict: targets are stated for the sizes of a run that is not quick."""
    return [{**result, "target": None, "holds": None} for result in results]


def _reported(rows: Iterable[Any], progress: Callable[[str], object] | None) -> Iterator[Any]:
    for row in rows:
        if progress is not None:
            progress(f"{row.section}: {row.work}: {row.name}")
        yield row


def collect(section: str, rows: Iterable[Any]) -> list[dict[str, Any]]:
    """Return the rows as dicts; where an answer is wrong or a package is missing, the row that says so ends them."""
    from memcore.bench.rows import Row
    from memcore.errors import MissingExtraError

    done = []
    try:
        for row in rows:
            done.append(row.as_dict())
    except WrongAnswerError as error:
        done.append(Row(section, "wrong answer", "refused to time", note=str(error), refused=True).as_dict())
    except MissingExtraError as error:
        done.append(Row(section, "not run", "missing", note=str(error)).as_dict())
    return done


def table(results: list[dict[str, Any]]) -> list[str]:
    """Return the results of ``run_all`` as lines for a person: the machine, tables, and which targets hold."""
    from memcore.bench import machine, rows

    first = [result for result in results if result["section"] == "machine"]
    rest = [result for result in results if result["section"] != "machine"]
    return [line for result in first for line in machine.lines(result)] + rows.tables(rest)
