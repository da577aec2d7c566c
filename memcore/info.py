"""Find out what is installed and what would run, without loading anything heavy."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from typing import Any

OPTIONAL = {
    "audit": (
        "pyarrow",
        "pillow",
        "tqdm",
        "tomli-w",
        "scipy",
        "torch",
        "diffusers",
        "transformers",
        "simplejpeg",
    ),
    "gpu": ("torch", "triton"),
    "report": ("jinja2",),
    "fast": ("kornia-rs",),
    "bench": ("faiss-cpu", "numkong", "networkx", "igraph"),
}


def info() -> dict[str, Any]:
    """Return version, instruction sets, processors, the GPU part's state, and the optional packages found."""
    import memcore
    from memcore import _core, isa
    from memcore.system.cpus import processors

    return {
        "memcore": memcore.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processors": processors(),
        "isa": {
            "available": list(isa.available()),
            "active": isa.active(),
            "override": os.environ.get("MEMCORE_ISA"),
        },
        "embedding": _embedding(),
        "cuda_library": dict(_core.cuda_status()),
        "gpu": _gpu(),
        "packages": {extra: {name: _version(name) for name in names} for extra, names in OPTIONAL.items()},
    }


def _embedding() -> dict[str, Any]:
    """Return where the C header and library are; None for each if they were not built."""
    from memcore import embedding, errors

    try:
        include, library = embedding.get_include(), embedding.get_library()
    except errors.LibraryNotBuiltError as error:
        return {"include": None, "library": None, "reason": str(error)}
    return {"include": include, "library": library, "reason": ""}


def _gpu() -> dict[str, Any]:
    """Return whether the Triton kernels would run; torch is imported only if it is installed."""
    if importlib.util.find_spec("torch") is None:
        return {"available": False, "reason": "torch is not installed: pip install 'memcore-audit[gpu]'"}
    from memcore.backends import gpu

    available, reason = gpu.available()
    return {"available": available, "reason": reason}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _audits(kernels: bool, cliques: bool) -> str:
    """Return where the graphs and cliques of a sampler's CUDA tensors would be found."""
    if not kernels:
        return "not here"
    return (
        "graphs and cliques on the device"
        if cliques
        else "graphs on the device, cliques on the CPU from their bits"
    )


def info_lines(result: dict[str, Any]) -> list[str]:
    """Return what ``info`` found as lines for a person."""
    instruction, cliques, embedded = result["isa"], result["cuda_library"], result["embedding"]
    lines = [
        f"memcore {result['memcore']}, Python {result['python']}, {result['machine']}, {result['processors']} processors",
        f"CPU: {instruction['active']} runs (available: {', '.join(instruction['available'])}"
        + (f"; MEMCORE_ISA={instruction['override']})" if instruction["override"] else ")"),
        f"GPU, Triton kernels: {'run on CUDA tensors' if result['gpu']['available'] else result['gpu']['reason']}"
        + "".join(f"; {name} {version}" for name, version in result["packages"]["gpu"].items() if version),
        f"GPU, cliques: {'run on CUDA tensors' if cliques['available'] else 'on the CPU, ' + cliques['reason']}",
        f"GPU, audits of CUDA tensors: {_audits(result['gpu']['available'], cliques['available'])}",
        "GPU, proven by: interpreter, fibers and compiler; no run on a GPU is on record (docs/kernels.md)",
        f"C library: {embedded['library'] or embedded['reason']}",
        *([f"C header: {embedded['include']}/memcore.h"] if embedded["include"] else []),
    ]
    for extra, packages in result["packages"].items():
        missing = [name for name, version in packages.items() if version is None]
        state = (
            "complete"
            if not missing
            else f"missing {', '.join(missing)}: pip install 'memcore-audit[{extra}]'"
        )
        lines.append(f"extra [{extra}]: {state}")
    return lines
