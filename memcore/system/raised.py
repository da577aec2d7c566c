"""What other people's code raised, in one line: the error, and where in their files it was raised."""

from __future__ import annotations

import os
import traceback

from memcore.system.plain_text import error_text

_LIBRARY = os.path.dirname(os.__file__)
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def raised_text(error: BaseException) -> str:
    """Return an error's class and message, and the place that raised it.

    >>> raised_text(ValueError("no"))
    'ValueError: no'
    """
    place = _find_place(error)
    return f"{error_text(error)} ({place})" if place else error_text(error)


def is_raised_inside(error: BaseException) -> bool:
    """Tell whether the code that was called raised an error, and not the call itself, as for a wrong argument."""
    raised = error.__traceback__
    return raised is not None and raised.tb_next is not None


def _find_place(error: BaseException) -> str:
    """Return the innermost line of a file that is neither Python's, nor an installed library's, nor memcore's, if any."""
    if isinstance(error, SyntaxError) and error.filename:
        return ""  # its message has it
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")
    ]
    if not frames:
        return ""
    own = [frame for frame in frames if _is_own(frame.filename)]
    outside = [frame for frame in frames if not _is_inside(frame.filename, _PACKAGE)]
    frame = (own or outside or frames)[-1]
    return f"line {frame.lineno} of {frame.filename}, in {frame.name}"


def _is_own(file: str) -> bool:
    libraries = _is_inside(file, _LIBRARY) or any(part in file for part in _INSTALLED)
    return not libraries and not _is_inside(file, _PACKAGE)


def _is_inside(file: str, folder: str) -> bool:
    return os.path.abspath(file).startswith(folder + os.sep)
