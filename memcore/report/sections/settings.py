"""The run's configuration, versions and digests, and what it was matched with."""

from __future__ import annotations

from typing import TypedDict

from memcore.report.subject import Subject
from memcore.report.wording import flatten

ORDER = 100
LABEL = "Configuration"
#: Settings listed of each table; a sampler may describe itself at any length.
MOST = 300


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
            *((f"match.{name}", value) for name, value in (run.match or {}).items() if name != "unreadable"),
        ]
    }
