"""The machine and the versions that a measurement belongs to."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np

import memcore
from memcore import isa
from memcore.bench.peers import DISTRIBUTIONS, version
from memcore.system.cpus import processors

_SHOWN = ("numpy", "torch", "faiss", "numkong", "networkx", "igraph", "cliquematch", "networkit")

#: A load above this share of the processors is reported.
BUSY = 0.6


def processor() -> str:
    """Return the processor's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def others_running() -> int:
    """Return how many threads other than this one want a processor at present, by a median; 0 where that is unknown."""
    source = Path("/proc/loadavg")
    if not source.exists():
        return 0
    seen = []
    for _ in range(9):
        seen.append(int(source.read_text().split()[3].partition("/")[0]) - 1)
        time.sleep(0.01)
    return max(0, sorted(seen)[len(seen) // 2])


def describe(quick: bool) -> dict[str, Any]:
    """Return the first of the results: the machine that the others were measured on."""
    return {
        "section": "machine",
        "processor": processor(),
        "processors": processors(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "isa": isa.active(),
        "isa_available": list(isa.available()),
        "threads": 1,
        "quick": quick,
        "versions": {
            "memcore": memcore.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _SHOWN if name in DISTRIBUTIONS},
        },
        "numpy_blas": _blas(),
    }


def lines(machine: dict[str, Any]) -> list[str]:
    """Return the lines of ``describe`` for a person: one, and more if the machine is busy or the inputs are small."""
    versions = ", ".join(
        f"{name} {number or 'not installed'}" for name, number in machine["versions"].items()
    )
    text = [
        f"{machine['processor']}, {machine['processors']} processors; {machine['isa']} of "
        f"{', '.join(machine['isa_available'])}; one thread unless stated; {versions}"
    ]
    if machine["load"] is not None and machine["load"] > BUSY * machine["processors"]:
        text.append(
            f"busy: a load of {machine['load']:.1f} on {machine['processors']} processors. Seconds are those of "
            "the processor, not of the wall clock."
        )
    if machine["quick"]:
        text.append("quick: small inputs. The targets are stated for the sizes without --quick.")
    return text


def _blas() -> str:
    """Return the BLAS that NumPy's peers run on, since a slow one would flatter us."""
    config = np.show_config(mode="dicts") or {}
    blas = config.get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()
