"""Write the table of docs/configuration.md from the fields of ``Config``: ``python docs/site/configuration.py``.

A test compares the page with the code, so that a name cannot be added without its row.
"""

from __future__ import annotations

import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "configuration.md"
START = "<!-- names: start, written by docs/site/configuration.py -->"
END = "<!-- names: end -->"
_COMMANDS = {"sampled": "audit", "stored": "filter", "both": "audit, filter", None: ""}
#: What the help of a name says that must be given where it means something.
_NONE = "no default"
_KINDS = {int: "integer", float: "number", str: "text"}


def table() -> str:
    """Return the table of all names, in the order in which ``memcore audit --help`` has them."""
    from memcore.runs.config import Config
    from memcore.runs.options import Declared, declared

    def row(field: Declared) -> str:
        kind = f"{field.size} {_KINDS[field.kind]}s" if field.size > 1 else _KINDS[field.kind]
        value = ", ".join(f'`"{choice}"`' for choice in field.choices) or kind
        default = list(field.default) if field.size > 1 else field.default
        shown = (
            _NONE
            if _NONE in field.option.help
            else ""
            if default in ("", None)
            else f'`"{default}"`'
            if isinstance(default, str)
            else f"`{default}`"
        )
        commands = _COMMANDS[field.option.use]
        return f"| `{field.name}` | {value} | {shown} | {commands} | {field.option.help} |"

    rows = [row(field) for field in declared(Config).values()]
    return "\n".join(["| name | value | default | command | what it is |", "|---|---|---|---|---|", *rows])


def with_table(page: str) -> str:
    """Return the page with its table written again."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    old = PAGE.read_text("utf-8")
    new = with_table(old)
    PAGE.write_text(new, "utf-8")
    sys.exit(f"{PAGE} was out of date and is written" if new != old and "--check" in sys.argv[1:] else 0)
