"""The history of the benchmarks: one CSV file a suite, one row a ratio, appended by ``memcore bench --record``."""

from __future__ import annotations

import csv
import io
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from memcore.errors import ArgumentValueError

#: ``ratio``, ``low`` and ``high``: a median and its range, in ``unit``. ``case``: the work. ``peer``: what it is timed with.
COLUMNS = (
    "date",
    "commit",
    "memcore",
    "machine",
    "processors",
    "isa",
    "quick",
    "case",
    "peer",
    "unit",
    "ratio",
    "low",
    "high",
    "rounds",
    "holds",
)

#: What the ratios depend on, from the repository's root. The history itself is not among it.
_SOURCES = tuple(f":/{name}" for name in ("memcore", "csrc", "kernels", "setup.py", "pyproject.toml"))


def check_folder(folder: Path) -> None:
    """Make the folder, and raise ArgumentValueError where a file in it has other columns: before minutes of timing."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            found = next(csv.reader(file), [])
        if found != list(COLUMNS):
            raise ArgumentValueError(
                f"{path} must have the columns {', '.join(COLUMNS)}, got {', '.join(found) or 'none'}: move it away"
            )


def record(folder: Path, results: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Append what ``run_all`` returned, and return the files, one a suite. Rows without a ratio are left out."""
    check_folder(folder)
    machine = next(result for result in results if result["section"] == "machine")
    shared = {
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit(),
        "memcore": machine["versions"]["memcore"],
        "machine": machine["processor"],
        "processors": machine["processors"],
        "quick": _word(machine["quick"]),
    }
    prefix = "gpu-" if "device" in machine else ""
    suites: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        if result["section"] != "machine" and result["value"] is not None:
            suites.setdefault(prefix + result["section"], []).append(
                shared | _measured(result, machine["isa"])
            )
    return [_append(folder / f"{suite}.csv", rows) for suite, rows in suites.items()]


def _measured(result: Mapping[str, Any], isa: str) -> dict[str, Any]:
    spread = result["value"]
    return {
        "isa": result["isa"] or isa,
        "case": result["work"],
        "peer": result["name"],
        "unit": result["unit"],
        "ratio": f"{spread['median']:.6g}",
        "low": f"{spread['low']:.6g}",
        "high": f"{spread['high']:.6g}",
        "rounds": result["rounds"],
        "holds": _word(result["holds"]),
    }


def _word(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"


def _append(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Append in one write, so that two runs at once never mix their lines."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    if not path.exists():
        writer.writeheader()
    writer.writerows(rows)
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(text.getvalue())
    return path


def commit() -> str:
    """Return the commit of the sources that run, with a ``+`` where they differ from it; empty outside a clone."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, check=False, timeout=60
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        # An installed copy may lie inside a clone of something else, such as in its .venv.
        if not git("ls-files", str(Path(__file__))):
            return ""
        changed = git("status", "--porcelain", "--untracked-files=no", "--", *_SOURCES)
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.TimeoutExpired):
        return ""
