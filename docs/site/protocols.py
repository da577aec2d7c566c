"""Write the tables of docs/reference/protocols.md from the dataclasses of a protocol: ``python docs/site/protocols.py``.

A test compares the page with the code, so that a key cannot be added without its row.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

PAGE = Path(__file__).parents[1] / "reference" / "protocols.md"
START = "<!-- keys: start, written by docs/site/protocols.py -->"
END = "<!-- keys: end -->"
_KINDS = {int: "integer", float: "number", str: "text", bool: "true or false"}


def _kind(hint: Any) -> str:
    """Return how a value of the type is written in TOML."""
    if get_origin(hint) is Literal:
        return ", ".join(f'`"{choice}"`' for choice in get_args(hint))
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        if len(kinds) == 2 and kinds[1] is Ellipsis:
            return f"list of {_kind(kinds[0])}"
        return f"[{', '.join(_kind(kind) for kind in kinds)}]"
    return _KINDS.get(hint, "table")


def _default(field: Any) -> str:
    if field.default is dataclasses.MISSING:
        return "an empty table" if field.default_factory is not dataclasses.MISSING else "must be given"
    return "" if field.default == "" else f"`{json.dumps(field.default)}`"


def _limit(name: str) -> str:
    from memcore.study.protocols.check import _LEAST, _SHARES

    if name in _LEAST:
        return f"at least {_LEAST[name]}"
    return f"from 0 to {_SHARES[name]:g}" if name in _SHARES else ""


def tables() -> str:
    """Return a section of every table of a protocol, with its keys in the order of the code."""
    from memcore.study.protocols import protocol as p

    top = [
        field
        for field in dataclasses.fields(p.Protocol)
        if field.name in ("name", "about", "device", "interval")
    ]
    sections: list[tuple[str, type, list[Any], bool]] = [
        ("The file itself", p.Protocol, top, False),
        ("`[data.NAME]`", p.DataSpec, list(dataclasses.fields(p.DataSpec)), False),
        ("`[[groups]]`", p.Group, list(dataclasses.fields(p.Group)), False),
        ("`fixed` and `grid` of a group", p.Factors, list(dataclasses.fields(p.Factors)), True),
        ("`[extraction]`", p.ExtractionSpec, list(dataclasses.fields(p.ExtractionSpec)), False),
        ("`[membership]`", p.MembershipSpec, list(dataclasses.fields(p.MembershipSpec)), False),
        ("`[inpainting]`", p.InpaintingSpec, list(dataclasses.fields(p.InpaintingSpec)), False),
        ("`[quality]`", p.QualitySpec, list(dataclasses.fields(p.QualitySpec)), False),
        ("`[canaries]`", p.CanarySpec, list(dataclasses.fields(p.CanarySpec)), False),
    ]
    written = []
    for title, kind, fields, limited in sections:
        hints = get_type_hints(kind)
        head = ["key", "value", "default", *(["limits"] if limited else [])]
        rows = [
            [f"`{f.name}`", _kind(hints[f.name]), _default(f), *([_limit(f.name)] if limited else [])]
            for f in fields
        ]
        lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
        about = " ".join((kind.__doc__ or "").replace("``", "`").split())
        written.append("\n".join([f"## {title}", "", about, "", *lines]))
    return "\n\n".join(written)


def with_tables(page: str) -> str:
    """Return the page with its tables written again."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n\n{tables()}\n\n{END}{after}"


if __name__ == "__main__":
    old = PAGE.read_text("utf-8")
    new = with_tables(old)
    PAGE.write_text(new, "utf-8")
    sys.exit(f"{PAGE} was out of date and is written" if new != old and "--check" in sys.argv[1:] else 0)
