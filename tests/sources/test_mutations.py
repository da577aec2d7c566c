"""Damaged files of every kind: each image is what Pillow decodes or is refused with a code, and nothing raises or hangs.

``MEMCORE_MUTATIONS`` is the number of mutations (default 300; ``make proof-accounting`` takes 20,000); ``fuzz.images``
makes them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fuzz.driver import Job, record, run_all
from tests.support.peak import has_peak

MUTATIONS = int(os.environ.get("MEMCORE_MUTATIONS", "300"))


@pytest.mark.skipif(not has_peak(), reason="this system does not tell the peak memory of a process")
def test_damaged_files_are_read_as_pillow_does_or_refused(tmp_path: Path) -> None:
    told = []
    run_all([Job("images", 1, 60 + MUTATIONS, MUTATIONS)], 1, lambda run: told.append(record(run, tmp_path)))
    assert told[0]["failures"] == []
    assert sum(told[0]["outcomes"].values()) == told[0]["cases"] == MUTATIONS
    assert told[0]["outcomes"]["equal"]
    assert told[0]["slowest_s"] < 10
    assert told[0]["grown_bytes"] < 1 << 30
