"""Run the CUDA part of the core on the CPU: csrc/clique/*.cu, compiled as C++, each thread a fiber.

``library()`` replaces ``memcore._core`` where ``memcore.backends.gpu_clique`` calls it; "device" addresses are
those of CPU tensors.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

CSRC = Path(__file__).parents[2] / "csrc"


def missing() -> str | None:
    """Return why it cannot be built here, or None."""
    if platform.machine() != "x86_64":
        return f"the fibers' switch of stacks is written for x86-64, not {platform.machine()}"
    return None if shutil.which(_compiler()) else f"{_compiler()} is not installed"


class Library:
    """The functions of ``_core`` that ``gpu_clique.launch`` uses."""

    def __init__(self, path: Path) -> None:
        loaded = ctypes.CDLL(str(path))
        self._workspace = loaded.memcore_cuda_max_clique_workspace
        self._workspace.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64]
        self._workspace.restype = ctypes.c_int64
        self._max_clique = loaded.memcore_cuda_max_clique
        pointer, number, wide = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
        self._max_clique.argtypes = [
            *(number, pointer, pointer, number, wide, number, wide),
            *(pointer, pointer, pointer),
        ]
        self._has_clique = loaded.memcore_cuda_has_clique
        self._has_clique.argtypes = [
            *(number, pointer, pointer, pointer, number, wide, number, wide),
            *(pointer, pointer),
        ]
        self._has_workspace = loaded.memcore_cuda_has_clique_workspace
        self._has_workspace.argtypes = [number, wide]
        self._has_workspace.restype = wide

    def cuda_max_clique_workspace(self, device: int, n: int, graphs: int) -> int:
        return int(self._workspace(device, n, graphs))

    def cuda_max_clique(self, *arguments: int) -> int:
        return int(self._max_clique(*arguments))

    def cuda_has_clique_workspace(self, n: int, graphs: int) -> int:
        return int(self._has_workspace(n, graphs))

    def cuda_has_clique(self, *arguments: int) -> int:
        return int(self._has_clique(*arguments))

    def cuda_error(self, error: int) -> str:
        return f"error {error}"


@functools.cache
def library() -> Library:
    """Compile and load the library, once a process, in about three seconds."""
    with tempfile.TemporaryDirectory() as folder:
        flags = ["-std=c++20", "-O1", "-fPIC", "-Wno-psabi", f"-I{CSRC}"]
        runtime = CSRC / "tests" / "simt"
        kernel = ["-x", "c++", "-include", str(runtime / "simt.hpp")]
        objects = []
        for source, extra in (
            (runtime / "simt.cpp", []),
            *((CSRC / "clique" / f"{name}.cu", kernel) for name in ("max_clique", "has_clique")),
        ):
            objects.append(f"{folder}/{source.stem}.o")
            subprocess.run([_compiler(), *flags, *extra, "-c", str(source), "-o", objects[-1]], check=True)
        shared = Path(folder, "fibers.so")
        subprocess.run([_compiler(), "-shared", *objects, "-o", str(shared)], check=True)
        return Library(shared)


def _compiler() -> str:
    return os.environ.get("CXX", "g++")
