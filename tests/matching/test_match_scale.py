"""The benchmark of match at scale, at the size of a test: nothing is missed, and its check would notice."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from memcore.bench import match_scale
from memcore.index import Index, match_index


def test_nothing_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(match_scale, "BANK", 256)
    monkeypatch.setattr(match_scale, "REPEAT", 97)
    result = match_scale.run(tmp_path / "index", images=6000, count=40, sample=6000)
    assert result["missed"] == 0
    assert result["sample_pairs_within_delta"] > 100
    assert 20 <= result["extracted"] < 40
    assert result["largest_eidetic"] > 1
    source = match_scale.SyntheticSource(6000)
    some = np.array([5999, 3, 97 * 200, 3])
    assert (source.images(some)[1] == source.images(np.arange(10))[3]).all()
    members, sizes = match_scale.findings(source, 40)
    index = Index.open(tmp_path / "index", sources=[source])
    found = match_index(index, lambda i: members[i], sizes, [0] * 40)
    rows = np.arange(6000)
    # An answer that misses a neighbour, a member's image or a copy does not pass the check.
    for change in (
        {"neighbors": ((found[0].neighbors[4][0], found[0].neighbors[4][1]),)},
        {"members_extracted": 0},
        {"extracted": False},
        {"closest": None},
    ):
        wrong = [dataclasses.replace(found[0], **change), *found[1:]]
        with pytest.raises(AssertionError, match="finding 0"):
            match_scale.check(source, members, sizes, wrong, rows)
