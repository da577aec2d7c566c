"""Measure this process's own peak memory: ``python -m memcore.bench.memory dense|graph N SIZE`` prints JSON."""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path

import memcore
from memcore.bench import dense, kinds

_STATUS = Path("/proc/self/status")
#: Writing "5" here sets the peak back to what is resident now.
_CLEAR = Path("/proc/self/clear_refs")


def _kilobytes(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise KeyError(field)


def extra_share(operation: str, n: int, size: int) -> float:
    """Return (peak during the call - resident before - the answer) / input."""
    images = kinds.images(dense.KIND, n, size)
    small = images[:2].copy()
    memcore.pairwise_tiled_l2(small, threads=1)
    memcore.tiled_l2_graph(small, threads=1)
    # What the allocator kept would serve the call and not be counted.
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
    _CLEAR.write_text("5")
    before = _kilobytes("VmRSS")
    if operation == "dense":
        answer_bytes = memcore.pairwise_tiled_l2(images, threads=1).nbytes
    else:
        graph = memcore.tiled_l2_graph(images, 0.15, threads=1)
        answer_bytes = sum(a.nbytes for a in (graph.edges, graph.ssd, graph.distances) if a is not None)
    extra = (_kilobytes("VmHWM") - before) * 1024 - answer_bytes
    return max(0.0, float(extra) / float(images.nbytes))


def main() -> None:
    """Measure the operation that the arguments name, and print the share as JSON."""
    operation, n, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if not (_STATUS.exists() and _CLEAR.exists()):
        print(json.dumps({"note": "peak memory is read from /proc, which this system does not have"}))
        return
    print(json.dumps({"share": extra_share(operation, n, size)}))


if __name__ == "__main__":
    main()
