"""Damaged files of every kind: each image is what Pillow decodes or is refused with a code, and nothing raises or hangs.

JPEG is compared with Pillow's own decoder, which is libjpeg-turbo with the accurate transform and smooth upsampling too.
``MEMCORE_MUTATIONS`` is the number of mutations (default 300; ``make proof-accounting`` takes 20,000).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.support.peak import has_peak

MUTATIONS = int(os.environ.get("MEMCORE_MUTATIONS", "300"))


@pytest.mark.skipif(not has_peak(), reason="this system does not tell the peak memory of a process")
def test_damaged_files_are_read_as_pillow_does_or_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.support.mutations", str(MUTATIONS), "1"],
        capture_output=True,
        text=True,
        timeout=60 + MUTATIONS,
        check=True,
    )
    told = json.loads(done.stdout)
    assert told["wrong"] == []
    assert sum(told["outcomes"].values()) == told["count"] == MUTATIONS
    assert told["slowest_s"] < 10
    assert told["grown_bytes"] < 1 << 30
