"""The instruction set that the CPU core runs on, and a scoped override of it.

The core picks the strongest set that the CPU and the operating system support, or the one that the environment variable
``MEMCORE_ISA`` names. Answers are bit-identical on all of them; an override is for tests and measurements.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from memcore import _core
from memcore.errors import IsaError


def available() -> tuple[str, ...]:
    """Return the names of the instruction sets that this build has and this CPU can run, weakest first.

    Examples
    --------
    >>> available()[0]
    'scalar'
    """
    return tuple(_core.isa_available())


def active() -> str:
    """Return the instruction set that the next call from this thread will use.

    Raises :class:`memcore.errors.IsaError` where ``MEMCORE_ISA`` names one that is unknown or that this CPU lacks.

    Examples
    --------
    >>> active() in available()
    True
    """
    try:
        return _core.isa_active()
    except ValueError as error:
        raise IsaError(str(error)) from None


@contextlib.contextmanager
def using(name: str) -> Iterator[str]:
    """Run the calls that this thread makes within the ``with`` block on the instruction set ``name``.

    Blocks nest; each restores the previous setting. Other threads are not affected. Raises
    :class:`memcore.errors.IsaError` for a name that is not among :func:`available`.

    Examples
    --------
    >>> with using("scalar"):
    ...     active()
    'scalar'
    """
    if name not in available():
        raise IsaError(
            f"instruction set {name!r} is unknown or not supported by this CPU; available: {', '.join(available())}"
        )
    before = _core.isa_override()
    _core.isa_set(name)
    try:
        yield name
    finally:
        _core.isa_set(before)
