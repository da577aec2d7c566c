"""A name for all that a kernel's machine code depends on, so that nothing is compiled twice."""

from __future__ import annotations

import ast
import hashlib
import json
from typing import Any

import triton

from memcore_kernels.proof.program import Program


def digest(program: Program, architecture: str) -> str:
    """Return a digest of the kernel's text, what it calls, the launch's constants and arguments, and the compiler.

    Comments, docstrings and the place in the file are left out: they change no instruction.
    """
    everything: dict[str, Any] = {
        "triton": triton.__version__,
        "architecture": architecture,
        "text": sorted(_texts(program.kernel, {}).items()),
        "arguments": sorted(program.arguments.items()),
        "constants": sorted(program.constants.items()),
        "pointers": sorted(program.pointers.items()),
        "warps": program.warps,
        "case": program.case,
        "block": program.block,
    }
    if general := [parameter.name for parameter in program.kernel.params if parameter.do_not_specialize]:
        everything["general"] = general
    return hashlib.sha256(json.dumps(everything, default=str).encode()).hexdigest()[:24]


def _texts(function: Any, found: dict[str, str]) -> dict[str, str]:
    """Return the source of a jit function and of those that it calls, and the values of the globals that it names."""
    tree = ast.parse(function.src)
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    if ast.get_docstring(definition):
        del definition.body[0]
    found[function.__name__] = ast.dump(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in function.__globals__:
            value = function.__globals__[node.id]
            if isinstance(value, triton.JITFunction) and node.id not in found:
                _texts(value, found)
            elif isinstance(value, bool | int | float | str):
                found[node.id] = repr(value)
    return found
