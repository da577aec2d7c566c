"""Find out what is installed and what would run, without loading anything heavy."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from memcore._install import DISTRIBUTION, checkout, install_command


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
        "installed_from": str(checkout() or DISTRIBUTION),
        "packages": {extra: {name: _version(name) for name in names} for extra, names in extras().items()},
    }


def extras() -> dict[str, list[str]]:
    """Return the distributions that each extra installs on this machine, those of the extras that it names among them.

    They are read from the checkout's pyproject.toml or else from what pip recorded; nothing where neither is there.
    """
    declared = _declared()
    return {extra: sorted(_packages(extra, declared)) for extra in declared}


def _declared() -> Mapping[str, Sequence[str]]:
    """Return the requirements of each extra, as they are written in the project's metadata."""
    tree = checkout()
    if tree is not None:
        project = tomllib.loads((tree / "pyproject.toml").read_text("utf-8"))["project"]
        found: dict[str, list[str]] = project["optional-dependencies"]
        return found
    try:
        metadata = importlib.metadata.metadata(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return {}
    lines = metadata.get_all("Requires-Dist") or []
    return {
        extra: [line for line in lines if re.search(rf"""extra == ['"]{re.escape(extra)}['"]""", line)]
        for extra in metadata.get_all("Provides-Extra") or []
    }


def _packages(extra: str, declared: Mapping[str, Sequence[str]]) -> set[str]:
    here = {"platform_system": platform.system(), "platform_machine": platform.machine()}
    found: set[str] = set()
    for line in declared[extra]:
        requirement, _, marker = line.partition(";")
        conditions = re.findall(r"""(platform_\w+) == ['"](\w+)['"]""", marker)
        if any(here[name] != value for name, value in conditions):
            continue
        name, inner = re.fullmatch(r"([\w.-]+)(?:\[([\w,-]+)\])?.*", requirement.strip()).groups()  # type: ignore[union-attr]
        if name == DISTRIBUTION:
            found.update(*(_packages(other, declared) for other in inner.split(",")))
        else:
            found.add(name)
    return found


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
        return {"available": False, "reason": f"torch is not installed: {install_command('gpu')}"}
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
        lines.append(f"extra [{extra}]: {'missing ' + ', '.join(missing) if missing else 'complete'}")
    return [*lines, f"to add one: {install_command('EXTRA')}"]
