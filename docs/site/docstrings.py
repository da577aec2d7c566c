"""From the repository's docstrings to Markdown: literals, cross-references, sections, and examples that doctest runs."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|mod|data|exc):`~?([\w.]+)`")
_LITERAL = re.compile(r"``(.+?)``", re.DOTALL)
_RULE = re.compile(r"-{3,}")


class Docstrings(griffe.Extension):
    """Rewrite each docstring as it is read."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            module = obj.path if obj.is_module else obj.module.path
            obj.docstring.value = to_markdown(obj.docstring.value, module)


def to_markdown(text: str, module: str) -> str:
    """Return a docstring's Markdown; names without a dot in a role are looked up in ``module``."""

    def reference(found: re.Match[str]) -> str:
        name = found[1]
        return f"[`{name}`][{name if '.' in name else f'{module}.{name}'}]"

    plain = _LITERAL.sub(r"`\1`", _ROLE.sub(reference, text))
    blocks = re.split(r"\n\s*\n", plain.strip("\n"))
    return "\n\n".join("\n".join(_converted(block.split("\n"))) for block in blocks)


def _converted(block: list[str]) -> Iterator[str]:
    """Convert lines between two empty ones: an example, a section, or text that stays as it is."""
    if block[0].startswith(">>> "):
        yield from ("```pycon", *block, "```")
    elif len(block) > 1 and _RULE.fullmatch(block[1]):
        yield from (f"**{block[0]}**", "")
        yield from _entries(block[2:])
    else:
        yield from block


def _entries(lines: list[str]) -> Iterator[str]:
    """Make one list item of each name and the lines that are set in below it."""
    numbered = itertools.accumulate(not line.startswith(" ") for line in lines)
    for _, group in itertools.groupby(zip(numbered, lines, strict=True), key=lambda pair: pair[0]):
        name, *rest = (line.strip() for _, line in group)
        yield f"- `{name}`" + (f": {' '.join(rest)}" if rest else "")
