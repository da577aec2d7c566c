"""The run's configuration, versions and digests, and what it was matched with."""

from __future__ import annotations

from typing import TypedDict

from memcore.report.subject import Subject
from memcore.report.wording import flatten
from memcore.runs.freshness import inputs_of_report

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
    config = flatten(run.settings.get("config", {}))
    rest = flatten({name: table for name, table in run.settings.items() if name != "config"})
    return {
        "rows": [
            *list(config.items())[:MOST],
            *list(rest.items())[:MOST],
            *((f"match.{name}", value) for name, value in (run.match or {}).items() if name not in _TOLD),
            *((f"this page.{name}", value) for name, value in inputs_of_report(run.state).items()),
        ]
    }
