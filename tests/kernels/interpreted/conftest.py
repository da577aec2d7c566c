"""Tests of the kernels under Triton's interpreter, which needs TRITON_INTERPRET=1 before the import.

``tests/kernels/test_kernels.py`` runs this folder in a process of its own; any other process leaves it out.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import torch
import triton.language as tl
from triton.runtime import interpreter

collect_ignore_glob = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["test_*.py"]


@pytest.fixture(autouse=True)
def junk_in_fresh_memory() -> None:
    """Fills every torch.empty with large numbers: a kernel that reads what nobody wrote answers wrongly."""
    torch.use_deterministic_algorithms(True)


@pytest.fixture(autouse=True)
def exclusive_or_by_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's sort reduces by exclusive or, which its interpreter does one element after the other, in Python.

    NumPy has the same reduction; sums, minima and maxima the interpreter gives to NumPy by itself.
    """
    slow = interpreter.ReduceOps.apply_impl

    def apply(self: Any, operands: Any) -> Any:
        if self.combine_fn is not tl.standard._xor_combine:
            return slow(self, operands)
        one = operands[0]
        reduced = np.bitwise_xor.reduce(one.handle.data, axis=self.axis, keepdims=self.keep_dims)
        return self.to_tensor(reduced, one.dtype)

    monkeypatch.setattr(interpreter.ReduceOps, "apply_impl", apply)


@pytest.fixture(autouse=True)
def language_patched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter replaces Triton's functions at every call of a device function; once a launch is enough.

    What is replaced already is no builtin of Triton's any more, so that replacing it again changes nothing.
    """
    patch = interpreter._patch_lang

    def patch_once(function: Any) -> Any:
        modules = [m for m in function.__globals__.values() if m is tl or m is tl.core]
        if modules and not any(tl.core.is_builtin(module.load) for module in modules):
            return interpreter._LangPatchScope()
        return patch(function)

    monkeypatch.setattr(interpreter, "_patch_lang", patch_once)
