"""How far a study is, from its folder alone: on any machine that sees it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from memcore.engine import status as engine
from memcore.engine.presence import read_presence
from memcore.engine.task import manifest_name
from memcore.study.folder import StudyFolder
from memcore.study.units import count_units
from memcore.system.units import count, duration

State: TypeAlias = Literal["done", "unfinished", "failed"]


def states(folder: StudyFolder) -> tuple[dict[str, State], dict[str, str]]:
    """Return the state of every planned model, and of those that failed the last line of the error."""
    found: dict[str, State] = dict.fromkeys(folder.specs, "unfinished")
    why: dict[str, str] = {}
    for model, manifest in folder.manifests().items():
        found[model] = "failed" if manifest.get("given_up") else "done"
        if manifest.get("given_up"):
            why[model] = str(manifest.get("detail", "")).strip().rpartition("\n")[2]
    return found, why


def study_status(folder: StudyFolder, now: float | None = None) -> dict[str, Any]:
    """Return the models done, the share of the work, the seconds left, who is at work, and what failed.

    The share counts passes through the nets, of unfinished models too where their launcher is at work. ``seconds_left``
    is None while no model is done, or where nobody is at work. ``tables_missing`` names the tables that a finished model
    wrote and that are gone: a study that lacks one is not complete.
    """
    now = time.time() if now is None else now
    manifests = list(folder.manifests().values())
    held, why = states(folder)
    units = {model: count_units(folder.protocol, spec).total for model, spec in folder.specs.items()}
    counted = engine.status(folder.storage, len(folder.specs), manifests, now)
    alive = [p for p in read_presence(folder.storage, now) if p.alive]
    gone = folder.missing_tables()
    at_work = {task: made for p in alive for task, made in p.tasks.items() if held.get(task) == "unfinished"}
    done = sum(units[model] for model, state in held.items() if state != "unfinished")
    done += sum(min(made, units[task]) for task, made in at_work.items())
    left = sum(units.values()) - done
    return {
        "study": folder.storage.place,
        "protocol": folder.protocol.name,
        "complete": counted.done == counted.tasks and not gone,
        "models": counted.tasks,
        "models_done": counted.done - counted.given_up,
        "models_failed": counted.given_up,
        "models_checkpointed": counted.checkpointed,
        "groups": {
            group.name: {
                "models": sum(group.name in spec.groups for spec in folder.specs.values()),
                "done": sum(group.name in s.groups and held[m] == "done" for m, s in folder.specs.items()),
            }
            for group in folder.protocol.groups
        },
        "share": done / max(1, sum(units.values())),
        "seconds_left": counted.seconds_left(left, "units") if alive or not left else None,
        "at_work": sorted(at_work),
        "tables_missing": gone,
        "failures": why,
    }


def status_lines(result: Mapping[str, Any]) -> list[str]:
    """Return the status as lines for people."""
    state = "done" if result["complete"] else "unfinished"
    lines = [
        f"{result['study']}: {state}, {result['models_done']:,} of {count(result['models'], 'model')} of the protocol "
        f"{result['protocol']} ({100 * result['share']:.1f} % of the work)"
    ]
    lines += [
        f"  {name}: {group['done']:,} of {count(group['models'], 'model')}"
        for name, group in result["groups"].items()
    ]
    if result["at_work"]:
        lines.append(f"at work on {', '.join(result['at_work'])}")
    elif result["models_done"] + result["models_failed"] < result["models"]:
        lines.append("nobody is at work on it: the command that started it resumes it")
    if result["seconds_left"]:
        lines.append(f"{duration(result['seconds_left'])} left at the recent rate")
    lines += [
        f"{model} lacks {', '.join(names)}: restore them, or remove {manifest_name(model)} and run the study again"
        for model, names in result["tables_missing"].items()
    ]
    lines += [f"{model} failed three times: {why}" for model, why in result["failures"].items()]
    if result["failures"]:
        lines.append("memcore study run with --retry does these models again")
    return lines
