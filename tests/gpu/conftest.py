"""Tests on a CUDA device: ``pytest -m gpu``. Without one they skip, and say why."""

from __future__ import annotations

import pytest

from memcore.backends import gpu


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    available, reason = gpu.available()
    for item in items:
        if item.get_closest_marker("gpu") and not available:
            item.add_marker(pytest.mark.skip(reason=f"needs a CUDA device: {reason}"))
