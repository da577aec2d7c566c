"""Seeds that survive an API, JavaScript and pandas: as many bits as a sampler declares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memcore.audit.run_audit import audit
from memcore.errors import ArgumentTypeError, ArgumentValueError, ConfigError
from memcore.runs.config import Config
from memcore.sampling import CallableSampler, derive_seeds
from memcore.sampling.seeds import sampler_seed_bits

SHAPE = (8, 8, 3)


def noise(prompts: list[str], seeds: list[int]) -> Any:
    return np.stack([np.random.default_rng(s).integers(0, 256, SHAPE, dtype=np.uint8) for s in seeds])


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), st.integers(7, 62), st.integers(0, 50))
def test_narrow_seeds_fit_and_differ(run: int, prompt: int, bits: int, start: int) -> None:
    seeds = derive_seeds(run, prompt, 70, bits=bits)
    assert 0 <= seeds.min() <= seeds.max() < 2**bits
    assert len(set(seeds.tolist())) == 70
    assert derive_seeds(run, prompt, 20, start, bits=bits).tolist() == seeds[start : start + 20].tolist()


def test_narrow_seeds_are_known_and_spread() -> None:
    """Known answers: a change would silently make every old run of such a sampler unrepeatable."""
    assert derive_seeds(0, 0, 3, bits=32).tolist() == [234031196, 1736026879, 3238022562]
    assert sorted(derive_seeds(5, 1, 16, bits=4).tolist()) == list(range(16))
    many = np.concatenate([derive_seeds(0, prompt, 100, bits=32) for prompt in range(1000)])
    assert abs(many.mean() / 2**31 - 1) < 0.02
    assert len(set(many.tolist())) > 99_990  # 100,000 seeds of 32 bits: about one pair of prompts shares one


def test_more_images_than_seeds_are_refused() -> None:
    with pytest.raises(ArgumentValueError, match="a prompt has 17 images, but seeds of 4 bits are 16"):
        derive_seeds(0, 0, 17, bits=4)


def test_a_run_gives_the_declared_bits(tmp_path: Path) -> None:
    seen: list[int] = []

    def function(prompts: list[str], seeds: list[int]) -> Any:
        seen.extend(seeds)
        return noise(prompts, seeds)

    config = Config(source="custom", generations=30, batch_size=8)
    folder = audit(
        tmp_path / "run",
        config,
        sampler=CallableSampler(function, SHAPE, "noise", seed_bits=32),
        prompts=["a", "b"],
        quiet=True,
    )
    assert 2**28 < max(seen) < 2**32
    assert folder.meta["sampler"]["fingerprint"] == "noise seed_bits=32"
    assert not folder.quarantine()
    sampler = CallableSampler(function, SHAPE, "noise")
    with pytest.raises(ConfigError, match="seed_bits"):
        audit(tmp_path / "run", config, sampler=sampler, prompts=["a", "b"], quiet=True)


def test_without_a_declaration_seeds_are_those_of_old_runs() -> None:
    assert sampler_seed_bits(CallableSampler(noise, SHAPE, "noise")) == 63
    assert derive_seeds(0, 0, 2, bits=63).tolist() == derive_seeds(0, 0, 2).tolist()


@pytest.mark.parametrize("bits", [0, 64, -1])
def test_impossible_bits(bits: int) -> None:
    with pytest.raises(ArgumentValueError, match="seed_bits must be in"):
        CallableSampler(noise, SHAPE, "noise", seed_bits=bits)
    with pytest.raises(ArgumentTypeError, match="seed_bits must be an integer"):
        CallableSampler(noise, SHAPE, "noise", seed_bits=1.5)  # type: ignore[arg-type]
