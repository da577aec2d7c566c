"""What a notebook shows of an object: small tables of HTML, in which every text is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


def html_table(rows: Iterable[Sequence[object]], titles: Sequence[str] = ()) -> str:
    """Return a table; without ``titles`` the first cell of each row is its title.

    >>> html_table([["a < b", 1]])
    '<table><tr><th>a &lt; b</th><td>1</td></tr></table>'
    >>> html_table([[1, 2]], ["x", "y"])
    '<table><tr><th>x</th><th>y</th></tr><tr><td>1</td><td>2</td></tr></table>'
    """
    head = f"<tr>{''.join(_cell('th', title) for title in titles)}</tr>" if titles else ""
    body = "".join(
        f"<tr>{''.join(_cell('th' if not titles and not i else 'td', value) for i, value in enumerate(row))}</tr>"
        for row in rows
    )
    return f"<table>{head}{body}</table>"


def _cell(tag: str, value: object) -> str:
    return f"<{tag}>{html.escape(str(value))}</{tag}>"
