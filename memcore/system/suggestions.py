"""The nearest right names for a wrong one, for messages about flags, commands and names in TOML files."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

#: Letters of the shortest word that is taken for an abbreviation, and how many names it may abbreviate.
_ABBREVIATION_LETTERS, _MOST = 2, 3


def nearest(word: str, known: Iterable[str]) -> list[str]:
    """Return the known names that ``word`` most likely means; none if none is close.

    Names that are one letter away come first, then those that ``word`` abbreviates. Only where there are none, the name
    with the most letters in common is taken.

    >>> nearest("--treshold", ["--threads", "--threshold"])
    ['--threshold']
    >>> nearest("--batch", ["--batch-size", "--sbatch"])
    ['--sbatch', '--batch-size']
    """
    names = sorted(known)
    close = [name for name in names if _one_letter_apart(word, name)]
    if len(word.strip("-")) >= _ABBREVIATION_LETTERS:
        close += [name for name in names if name.startswith(word) and name not in close]
    return close[:_MOST] or difflib.get_close_matches(word, names, 1)


def did_you_mean(word: str, known: Iterable[str], show: Callable[[str], str] = str) -> str:
    """Return the question that ends a message, or nothing where no name is close.

    >>> did_you_mean("filtr", ["audit", "filter"], repr)
    "did you mean 'filter'?"
    """
    names = [show(name) for name in nearest(word, known)]
    return f"did you mean {' or '.join(filter(None, [', '.join(names[:-1]), names[-1]]))}?" if names else ""


def _one_letter_apart(a: str, b: str) -> bool:
    """Return whether one letter was dropped, added, changed or swapped with its neighbour."""
    if abs(len(a) - len(b)) > 1 or a == b:
        return False
    same = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    rest_a, rest_b = a[same:], b[same:]
    swapped = rest_a[:2] == rest_b[1::-1] and rest_a[2:] == rest_b[2:]
    return swapped or any(rest_a[i:] == rest_b[j:] for i, j in ((1, 0), (0, 1), (1, 1)))
