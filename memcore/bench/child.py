"""The environment in which a child process imports the same memcore."""

from __future__ import annotations

import os
from pathlib import Path

import memcore
from memcore import isa


def environment() -> dict[str, str]:
    """Return this process's environment, with this memcore and its instruction set, and one thread for all pools."""
    here = str(Path(memcore.__file__).parents[1])
    path = os.pathsep.join(p for p in (here, os.environ.get("PYTHONPATH", "")) if p)
    pools = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **pools, "PYTHONPATH": path, "MEMCORE_ISA": isa.active()}
