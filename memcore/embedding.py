"""Paths of the installed C header and library, for programs that embed the core: docs/embedding.md."""

from __future__ import annotations

import sys
from pathlib import Path

from memcore.errors import LibraryNotBuiltError

_PACKAGE = Path(__file__).parent
_NAMES = {"win32": "memcore.dll", "darwin": "libmemcore.dylib"}


def get_include() -> str:
    """Return the folder of ``memcore.h``, for the compiler's ``-I``.

    Raises :class:`memcore.errors.LibraryNotBuiltError` in a source tree whose native part was not built.

    Examples
    --------
    >>> import pathlib, memcore
    >>> (pathlib.Path(memcore.get_include()) / "memcore.h").is_file()
    True
    """
    return str(_existing(_PACKAGE / "include" / "memcore.h").parent)


def get_library() -> str:
    """Return the path of the shared library with the C ABI, to link with or to load.

    Its folder also holds ``pkgconfig/memcore.pc`` and ``cmake/memcore/memcoreConfig.cmake``. The library does not need
    Python. Raises :class:`memcore.errors.LibraryNotBuiltError` in a source tree whose native part was not built.

    Examples
    --------
    >>> import ctypes, memcore
    >>> ctypes.CDLL(memcore.get_library()).memcore_abi_version()
    1
    """
    return str(_existing(_PACKAGE / "lib" / _NAMES.get(sys.platform, "libmemcore.so")))


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise LibraryNotBuiltError(
            f"{path} is missing: the native part of this source tree was not built; "
            "run: python setup.py build_ext --inplace"
        )
    return path
