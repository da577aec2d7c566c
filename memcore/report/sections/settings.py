"""The run's configuration, versions and digests, and what it was matched with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from memcore.report.subject import Subject
from memcore.report.wording import flatten
from memcore.runs.config import Config
from memcore.runs.freshness import inputs_of_report
from memcore.runs.options import declared

ORDER = 100
LABEL = "Configuration"
#: Settings listed of each table; a sampler may describe itself at any length.
MOST = 300


#: Keys of match.json that the sections above put into words.
_TOLD = ("unreadable", "reasons", "coverage", "files", "made_from")


class Settings(TypedDict):
    """What the template shows."""

    rows: list[tuple[str, object]]


def context(subject: Subject) -> Settings:
    """Return the settings as rows of a table."""
    run = subject.run
    stored = run.sampler == "stored"
    config = flatten(_used(run.settings.get("config", {}), stored))
    # a filter reads all images there are: it has no budget
    apart = {"config", "budget", "screen"} if stored else {"config"}
    rest = flatten({name: table for name, table in run.settings.items() if name not in apart})
    match = {
        name: value for name, value in (run.match or {}).items() if name not in _TOLD and value is not None
    }
    return {
        "rows": [
            *list(config.items())[:MOST],
            *list(rest.items())[:MOST],
            *list(flatten({"match": match}).items())[:MOST],
            *((f"this page.{name}", value) for name, value in inputs_of_report(run.state).items()),
        ]
    }


def _used(config: Mapping[str, object], stored: bool) -> dict[str, object]:
    """Return the options that mean something for the run: a filter does not sample, an audit reads no stored images."""
    known, other = declared(Config), "sampled" if stored else "stored"
    return {
        name: value for name, value in config.items() if name not in known or known[name].option.use != other
    }
