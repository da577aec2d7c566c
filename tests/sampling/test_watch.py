"""Samplers that break what an audit rests on without raising: noticed by themselves, counted and told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from memcore.audit.run_audit import audit
from memcore.errors import ConfigError, SamplerError
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder
from memcore.sampling import CallableSampler, check_images, watch
from memcore.sampling.watch import checksums
from memcore.types import Images, Request

SHAPE = (16, 16, 3)
CONFIG = Config(source="custom", generations=12, batch_size=5, min_clique=3)
PROMPTS = ["a fox", "a hill", "a tree", "a door"]


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, SHAPE, dtype=np.uint8)


def run(
    tmp_path: Path, one: Callable[[str, int], Any], prompts: list[str] = PROMPTS, **changes: Any
) -> RunFolder:
    def function(texts: list[str], seeds: list[int]) -> Any:
        return [one(text, seed) for text, seed in zip(texts, seeds, strict=True)]

    config = Config(**{**{f: getattr(CONFIG, f) for f in CONFIG.__dataclass_fields__}, **changes})
    sampler = CallableSampler(function, SHAPE, "f")
    return audit(tmp_path / "run", config, sampler=sampler, prompts=prompts, quiet=True)


def told(folder: RunFolder) -> list[tuple[int | None, str]]:
    return [(q["prompt_id"], q["reason"]) for q in folder.quarantine()]


def test_a_good_sampler_is_told_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert told(run(tmp_path, lambda text, seed: noise(seed))) == []
    assert not caplog.records


@pytest.mark.parametrize("shard", [0, 1, 4])
def test_a_server_that_caches_is_refused(tmp_path: Path, shard: int) -> None:
    """Row 23: every prompt was a finding with a mean distance of 0, and nothing was said."""
    with pytest.raises(ConfigError, match="the sampler gave one image for all seeds, for each of 3 prompts"):
        run(tmp_path, lambda text, seed: noise(len(text)), shard_prompts=shard)


def test_one_cached_prompt_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = run(tmp_path, lambda text, seed: noise(7 if text == "a hill" else seed))
    assert told(folder) == [(1, "same-image")]
    assert "12 images of different seeds are 1 image, byte for byte" in folder.quarantine()[0]["detail"]
    assert len(caplog.records) == 1


def test_few_prompts_of_one_image_are_told(tmp_path: Path) -> None:
    assert told(run(tmp_path, lambda text, seed: noise(1), PROMPTS[:2])) == [
        (0, "same-image"),
        (1, "same-image"),
    ]


@pytest.mark.parametrize("bits", [1, 3])
def test_seeds_that_are_cut_short_are_told(tmp_path: Path, bits: int) -> None:
    folder = run(tmp_path, lambda text, seed: noise(seed % 2**bits))
    assert [reason for _, reason in told(folder)] == ["same-image"] * len(PROMPTS)


def test_black_frames_are_no_repeated_images(tmp_path: Path) -> None:
    black = np.zeros(SHAPE, np.uint8)
    assert told(run(tmp_path, lambda text, seed: black if seed % 2 else noise(seed))) == []


def test_other_bytes_for_the_same_seed_are_told(tmp_path: Path) -> None:
    state = np.random.default_rng(0)
    folder = run(tmp_path, lambda text, seed: state.integers(0, 256, SHAPE, dtype=np.uint8))
    assert told(folder) == [(0, "unrepeatable")]
    assert "levels of 255 apart" in folder.quarantine()[0]["detail"]


def test_a_sampler_that_stops_repeating_itself_is_noticed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "CHECK_EVERY", 20)
    calls = [0]

    def one(text: str, seed: int) -> np.ndarray:
        calls[0] += 1
        return noise(seed + calls[0] * (calls[0] > 20))

    folder = run(tmp_path, one)
    assert {reason for _, reason in told(folder)} == {"unrepeatable"}
    assert all(prompt_id != 0 for prompt_id, _ in told(folder))


@pytest.mark.parametrize("broken", [None, "cut"])
def test_a_broken_image_costs_that_image_alone(tmp_path: Path, broken: str | None) -> None:
    path = tmp_path / "cut.png"
    Image.fromarray(noise(1)).save(path)
    path.write_bytes(path.read_bytes()[:200])
    seeds: list[int] = []

    def one(text: str, seed: int) -> Any:
        seeds.append(seed)
        if text == "a hill" and seed % 4 == 0:
            return None if broken is None else Image.open(path)
        return noise(seed)

    folder = run(tmp_path, one)
    row = folder.findings()[1]
    gone = sum(s % 4 == 0 for s in dict.fromkeys(seeds[12:-12]))
    assert row["status"] == "none"
    assert row["generated"] == 12
    assert 0 < row["excluded"] < 12
    assert told(folder) == [(1, "broken-image")]
    assert folder.quarantine()[0]["detail"].startswith(
        f"{row['excluded']} of 12 images left out: NaN, or no picture"
    )
    assert gone >= row["excluded"] > 0


def test_a_prompt_of_broken_images_has_failed(tmp_path: Path) -> None:
    """It must not pass for a prompt that was looked at."""
    folder = run(tmp_path, lambda text, seed: None if text == "a tree" else noise(seed))
    assert [row["status"] for row in folder.findings()] == ["none", "none", "failed", "none"]
    assert told(folder) == [(2, "sampler")]
    assert folder.quarantine()[0]["detail"].startswith("not one of 12 images holds a picture")


def test_notes_outlive_a_stop(tmp_path: Path) -> None:
    calls = [0]

    def one(text: str, seed: int) -> np.ndarray:
        calls[0] += 1
        if calls[0] == 32:
            raise KeyboardInterrupt
        return noise(seed % 2 if text == "a fox" else seed)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, one, shard_prompts=4)
    assert told(run(tmp_path, one, shard_prompts=4)) == [(0, "same-image")]


@given(
    st.integers(0, 3),
    st.integers(0, 40),
    st.integers(1, 255),
    st.sampled_from([(1, 1, 1), (3, 5, 3), (4, 4, 4)]),
)
def test_checksums_tell_images_apart(at: int, byte: int, change: int, shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (4, *shape), dtype=np.uint8)
    before = checksums(pixels)
    assert np.array_equal(before, checksums(torch.from_numpy(pixels)))
    assert np.array_equal(before, checksums(np.asfortranarray(pixels)))
    assert np.array_equal(before[::-1], checksums(pixels[::-1]))
    other = pixels.copy()
    flat = other[at].reshape(-1)
    flat[byte % flat.size] ^= change
    assert (checksums(other) != before).tolist() == [n == at for n in range(4)]


def test_broken_images_must_be_flagged() -> None:
    pixels, requests = np.zeros((2, *SHAPE), np.uint8), [Request(0, "a", 1), Request(0, "a", 2)]
    yes, no = np.ones(2, np.bool_), np.zeros(2, np.bool_)
    check_images(Images(pixels, yes, yes), requests, SHAPE)
    with pytest.raises(SamplerError, match="broken images must be flagged"):
        check_images(Images(pixels, no, yes), requests, SHAPE)
    with pytest.raises(SamplerError, match=r"broken must be None or bool of shape \(2,\)"):
        check_images(Images(pixels, yes, yes[:1]), requests, SHAPE)
