"""The error of a tree whose native core is not built: it names what is missing and the command that builds it."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from pathlib import Path

from memcore._install import checkout, how_to_build
from memcore._program import is_command


def require_core() -> None:
    """Raise ImportError where ``memcore._core`` is not built for this Python; end a ``memcore`` command in one line."""
    if importlib.util.find_spec("memcore._core") is None:
        what = _explanation(Path(__file__).parent)
        if is_command():
            sys.exit(f"memcore: {what}")
        raise ImportError(what, name="memcore._core")


def _explanation(package: Path) -> str:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    missing = f"the native core is not built: {package} has no _core{suffix}"
    return f"{missing}. {how_to_build(checkout())}"
