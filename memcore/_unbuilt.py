"""The error of a tree whose native core is not built: it names what is missing and the command that builds it."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from pathlib import Path

from memcore._install import checkout, how_to_build


def require_core() -> None:
    """Raise ImportError where ``memcore._core`` is not built for this Python; end a ``memcore`` command in one line."""
    if importlib.util.find_spec("memcore._core") is None:
        what = _explanation(Path(__file__).parent)
        if _runs_as_command(sys.argv, sys.orig_argv):
            sys.exit(f"memcore: {what}")
        raise ImportError(what, name="memcore._core")


def _explanation(package: Path) -> str:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    missing = f"the native core is not built: {package} has no _core{suffix}"
    return f"{missing}. {how_to_build(checkout())}"


def _runs_as_command(arguments: list[str], command: list[str]) -> bool:
    """Return whether this process is ``memcore ...`` or ``python -m memcore...``, whose users expect no traceback."""
    name = arguments[0] if arguments else ""
    if name == "-m":  # Python replaces it by the module's path once the package is imported
        module = command[command.index("-m") + 1] if "-m" in command[:-1] else ""
        return module.partition(".")[0] == "memcore"
    return Path(name).name in {"memcore", "memcore.exe", "memcore-script.py"}
