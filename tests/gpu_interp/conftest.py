"""Tests of the kernels under Triton's interpreter, which needs TRITON_INTERPRET=1 before the import.

``tests/test_kernels.py`` runs this folder in a process of its own; any other process leaves it out.
"""

from __future__ import annotations

import os

import pytest
import torch

collect_ignore_glob = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["test_*.py"]


@pytest.fixture(autouse=True)
def junk_in_fresh_memory() -> None:
    """Fills every torch.empty with large numbers: a kernel that reads what nobody wrote answers wrongly."""
    torch.use_deterministic_algorithms(True)
