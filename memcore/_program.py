"""What comes before all other imports where this process is the ``memcore`` command."""

from __future__ import annotations

import os
import sys


def is_command(arguments: list[str] | None = None, command: list[str] | None = None) -> bool:
    """Return whether this process is ``memcore ...`` or ``python -m memcore...``, whose users expect no traceback."""
    arguments = sys.argv if arguments is None else arguments
    command = sys.orig_argv if command is None else command
    name = arguments[0] if arguments else ""
    if name == "-m":  # Python replaces it by the module's path once the package is imported
        module = command[command.index("-m") + 1] if "-m" in command[:-1] else ""
        return module.partition(".")[0] == "memcore"
    return os.path.basename(name) in {"memcore", "memcore.exe", "memcore-script.py"}


def end_plainly_on_ctrl_c() -> None:
    """Until a command has handlers of its own, let Ctrl-C end it at once and without a traceback: nothing has begun."""
    if not is_command():
        return
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        try:
            signal.signal(signal.SIGINT, _leave)
        except ValueError:  # signals are of the main thread
            return


def _leave(number: int, frame: object) -> None:
    try:
        os.write(2, b"\nmemcore: interrupted before it began\n")
    finally:
        os._exit(3)  # stopped but resumable, as in memcore.commands
