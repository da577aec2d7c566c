"""How memcore is installed, and the command that adds an extra to it: every message that names one takes it from here.

The distribution is not called ``memcore``: on the index of Python packages that name belongs to another project.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

#: The name of the distribution, as in pyproject.toml.
DISTRIBUTION = "memcore-audit"


def checkout() -> Path | None:
    """Return the source tree that this package is run from, in place or by an editable install; None if there is none."""
    tree = Path(__file__).resolve().parent.parent
    return tree if (tree / "setup.py").is_file() and (tree / "pyproject.toml").is_file() else None


def install_command(extra: str) -> str:
    """Return the command that adds an extra to this installation, to be copied into a shell.

    In a checkout it is ``pip install -e '.[ray]'``, from another folder with ``cd`` before it; elsewhere
    ``pip install 'memcore-audit[ray]'``. ``pip`` is that of the Python which runs: another one would install elsewhere.
    """
    tree = checkout()
    if tree is None:
        return f"{_pip()} install '{DISTRIBUTION}[{extra}]'"
    command = f"{_pip()} install -e '.[{extra}]'"
    return command if _here() == tree else f"cd {shlex.quote(str(tree))} && {command}"


def how_to_build(tree: Path | None) -> str:
    """Return how the native core gets built: in ``tree``, or by another install where there are no sources."""
    if tree is None:
        return f"Install {DISTRIBUTION} again for this Python ({shlex.quote(sys.executable)} -m pip install)"
    place = shlex.quote(str(tree))
    return (
        f"To build it, run `make .venv/.demo` in {place} and use .venv/bin/python, "
        f"or run `{shlex.quote(sys.executable)} -m pip install -e {place}`"
    )


def _here() -> Path | None:
    """Return the working folder; None where it was removed."""
    try:
        return Path.cwd()
    except OSError:
        return None


def _pip() -> str:
    """Return ``pip`` where that is the one of this Python, else the way to start this Python's."""
    found = shutil.which("pip")
    if found is not None and os.path.dirname(found) == os.path.dirname(sys.executable):
        return "pip"
    return f"{shlex.quote(sys.executable)} -m pip"
