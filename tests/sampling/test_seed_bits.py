"""Seeds that survive an API, JavaScript and pandas: as many bits as a sampler declares."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memcore.audit.estimate.measure import _sampled
from memcore.audit.run_audit import audit
from memcore.commands.audit import answer_about
from memcore.errors import ArgumentTypeError, ArgumentValueError, ConfigError
from memcore.matching.match_run import match_run
from memcore.runs import shared_seeds
from memcore.runs.config import Config
from memcore.runs.summary import summary
from memcore.sampling import CallableSampler, DiffusersSampler, derive_seeds
from memcore.sampling.seeds import sampler_seed_bits
from memcore.types import Images
from tests.support.synthetic import PROMPTS, SyntheticSampler, write_training_set

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


def test_without_a_declaration_a_float_holds_every_seed() -> None:
    assert sampler_seed_bits(CallableSampler(noise, SHAPE, "noise")) == 53
    seeds = derive_seeds(0, 0, 100_000)
    assert (seeds.astype(np.float64).astype(np.int64) == seeds).all()
    assert seeds.max() > 2**52
    assert derive_seeds(0, 0, 2, bits=53).tolist() == seeds[:2].tolist()


def test_the_lower_bits_of_a_prompts_seeds_differ_too() -> None:
    """torch's generator on a CPU reads the lower 32 bits: equal ones would be equal images of a prompt."""
    for prompt in range(20):
        assert len(set((derive_seeds(3, prompt, 5_000) & 0xFFFF).tolist())) == 5_000
    assert DiffusersSampler.seed_bits == 32


def test_pandas_and_javascript_give_exact_seeds(tmp_path: Path) -> None:
    """A column with nulls becomes float64 in pandas, and every number is one in JavaScript (N-W7)."""
    config = Config(source="custom", generations=24, batch_size=16, min_clique=10)
    folder = audit(tmp_path / "run", config, sampler=SyntheticSampler(), prompts=PROMPTS, quiet=True)
    match_run(tmp_path / "run", write_training_set(tmp_path))
    read = (pq.read_table(p, columns=["medoid_seed"])["medoid_seed"] for p in folder.path.glob("findings/*"))
    as_pandas = [float(s) for column in read for s in column.to_pylist() if s is not None]
    found = [row for row in folder.findings() if row["medoid_seed"] is not None]
    assert sorted(int(seed) for seed in as_pandas) == sorted(row["medoid_seed"] for row in found)
    assert len(found) == 2
    for row in folder.findings():
        assert (row["medoid_image"] is None) == (row["medoid_seed"] is None)
    for row in found:
        assert row["medoid_image"] == f"images/{row['prompt_id']:06d}/{row['medoid_seed']}.png"
        assert (folder.path / row["medoid_image"]).is_file()
        assert all(float(s) == s for clique in row["cliques"] for s in clique["seeds"])
    matches = folder.matches() or []
    assert matches
    for match in matches:
        assert match["closest_image"] == f"images/{match['prompt_id']:06d}/{match['closest_seed']}.png"
        assert (folder.path / match["closest_image"]).is_file()


def test_prompts_that_share_seeds_are_counted(tmp_path: Path) -> None:
    config = Config(source="custom", generations=30, batch_size=30, seed=1)
    prompts = [f"p{i}" for i in range(10)]
    narrow = CallableSampler(noise, SHAPE, "noise", seed_bits=10)
    folder = audit(tmp_path / "narrow", config, sampler=narrow, prompts=prompts, quiet=True)
    seeds = np.concatenate([derive_seeds(1, i, 30, bits=10) for i in range(10)])
    _, times = np.unique(seeds, return_counts=True)
    told = summary(folder)
    assert (told["seed_bits"], told["seeds_shared"]) == (10, times[times > 1].sum())
    assert told["seeds_shared"] > 30
    answer = answer_about(argparse.Namespace(allow_incomplete=True), folder)
    assert any(f"{told['seeds_shared']} images shared the seed" in line for line in answer.lines)
    usual = audit(
        tmp_path / "usual",
        config,
        sampler=CallableSampler(noise, SHAPE, "noise"),
        prompts=prompts,
        quiet=True,
    )
    assert "seeds_shared" not in summary(usual)


def test_many_shared_seeds_are_estimated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(source="custom", generations=30, batch_size=30)
    sampler = CallableSampler(noise, SHAPE, "noise", seed_bits=12)
    prompts = [f"p{i}" for i in range(10)]
    folder = audit(tmp_path / "run", config, sampler=sampler, prompts=prompts, quiet=True)
    exact = summary(folder)["seeds_shared"]
    monkeypatch.setattr(shared_seeds, "COUNTED", 10)
    assert abs(summary(folder)["seeds_shared"] - exact) < 15


def test_a_plan_asks_for_the_declared_bits() -> None:
    seen: list[int] = []

    class Narrow:
        fingerprint, image_shape, seed_bits = "narrow", SHAPE, 32

        def sample(self, requests: Any) -> Images:
            seen.extend(r.seed for r in requests)
            return Images(noise([], [r.seed for r in requests]), np.zeros(len(requests), np.bool_))

    batches = _sampled(Narrow(), Config(source="custom", batch_size=8), ["a", "b"])
    next(batches), next(batches)
    assert len(seen) == 16
    assert max(seen) < 2**32


@pytest.mark.parametrize("bits", [0, 64, -1])
def test_impossible_bits(bits: int) -> None:
    with pytest.raises(ArgumentValueError, match="seed_bits must be in"):
        CallableSampler(noise, SHAPE, "noise", seed_bits=bits)
    with pytest.raises(ArgumentTypeError, match="seed_bits must be an integer"):
        CallableSampler(noise, SHAPE, "noise", seed_bits=1.5)  # type: ignore[arg-type]
