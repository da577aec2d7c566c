"""The sections of the page, each a module and a template.

A module ``name.py`` has three names, and ``name.html`` beside it shows what ``context`` returns:

``ORDER``: its place on the page, from the top down; sections below 0 are above the navigation.
``LABEL``: its entry in the navigation, whose target is the element with the id ``name``; None for no entry.
``context(subject)``: what the template needs, or None where the run has nothing for this section.

The template also sees ``run`` and ``pictures`` of the subject, and the macros of finding.html. Modules are found
automatically: a new section is these two files. A name that starts with an underscore is not a section.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Mapping

from memcore.report.subject import Subject


@dataclasses.dataclass(frozen=True)
class Section:
    """One section: the names of its module."""

    name: str
    order: int
    label: str | None
    context: Callable[[Subject], Mapping[str, object] | None]

    @property
    def template(self) -> str:
        """Return the name of the template."""
        return f"sections/{self.name}.html"


def load_sections() -> list[Section]:
    """Return the sections from the top of the page down."""
    names = [found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_")]
    sections = []
    for name in names:
        module = importlib.import_module(f"{__name__}.{name}")
        sections.append(Section(name, module.ORDER, module.LABEL, module.context))
    return sorted(sections, key=lambda section: section.order)
