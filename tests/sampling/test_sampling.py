"""What all samplers share: seeds, batches, budgets, the checks of their answers, and callables as samplers."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memcore.errors import ArgumentTypeError, ArgumentValueError, MemcoreError, SamplerError
from memcore.sampling import (
    Budget,
    CallableSampler,
    Decision,
    Fixed,
    Sampler,
    StopReason,
    check_images,
    derive_seed,
    derive_seeds,
    flag_constant,
    interleave,
)
from memcore.sampling.budget import LargestClique
from memcore.types import Images, Request

REQUESTS = [Request(0, "a red dog", 11), Request(1, "blue cat", 12)]
KNOWN = (4_090_613_944_397_004, 7_336_474_256_901_915)
#: Of runs before format 3.
KNOWN_63 = (7_296_892_043_415_487_710, 8_034_045_746_847_259_662)
PROMPTS = [(5, "five"), (2, "two"), (9, "nine")]


def test_import_loads_no_torch() -> None:
    code = "import sys, memcore.sampling; sys.exit(bool({'torch', 'diffusers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0


def test_seeds() -> None:
    """Known answers: a change would silently make every old run unrepeatable."""
    assert derive_seed(0, 0, 0) == KNOWN[0]
    assert derive_seed(1, 349_999, 499) == KNOWN[1]
    assert (derive_seed(0, 0, 0, bits=63), derive_seed(1, 349_999, 499, bits=63)) == KNOWN_63
    seeds = np.concatenate([derive_seeds(r, p, 50) for r in range(3) for p in range(20)])
    assert len(set(seeds.tolist())) == 3 * 20 * 50
    assert seeds.min() >= 0


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), st.integers(0, 9), st.integers(0, 99))
def test_seeds_of_a_prompt_are_those_of_its_images(run: int, prompt: int, count: int, start: int) -> None:
    expected = [derive_seed(run, prompt, start + i) for i in range(count)]
    assert derive_seeds(run, prompt, count, start).tolist() == expected


@given(st.integers(1, 9), st.integers(1, 13), st.integers(0, 5))
def test_batches_are_full_and_in_order(generations: int, size: int, prompts: int) -> None:
    named = [(3 * i + 1, f"prompt {i}") for i in range(prompts)]
    batches = list(interleave(named, Fixed(generations), size, run_seed=7))
    assert [len(b) for b in batches[:-1]] == [size] * (len(batches) - 1)
    expected = [Request(i, text, derive_seed(7, i, n)) for i, text in named for n in range(generations)]
    assert [request for batch in batches for request in batch] == expected
    assert all(batches)


@given(st.integers(1, 9), st.integers(1, 13), st.integers(0, 5))
def test_batches_without_their_requests_are_runs_of_seeds(generations: int, size: int, prompts: int) -> None:
    named = [(3 * i + 1, f"prompt {i}") for i in range(prompts)]
    lazy = interleave(named, Fixed(generations), size, run_seed=7)
    for batch in interleave(named, Fixed(generations), size, run_seed=7):
        runs = lazy.next_batch()
        assert runs is not None
        assert len(runs) == sum(len(run.seeds) for run in runs.runs) == len(batch)
        assert len({run.prompt_id for run in runs.runs}) == len(runs.runs)
        assert runs._requests is None, "made before anybody read one"
        assert tuple(runs) == batch
        assert (runs[0], runs[-1], runs[:2]) == (batch[0], batch[-1], batch[:2])
    assert lazy.next_batch() is None


class _UntilPair:
    """Two images at a time until a clique of two, at most six."""

    def decide(self, generated: int, largest: LargestClique) -> Decision:
        if generated >= 6:
            return Decision(0, StopReason.ALL)
        return Decision(0, StopReason.FOUND) if largest()[0] >= 2 else Decision(2)


def test_a_budget_that_listens_ends_a_prompt_early_and_others_fill_its_place() -> None:
    assert isinstance(_UntilPair(), Budget)
    batches = interleave(PROMPTS, _UntilPair(), 4, run_seed=0)
    assert [r.prompt_id for r in next(batches)] == [5, 5, 2, 2]
    assert batches.due() == batches.awaiting_decision() == [5, 2]
    assert batches.decide(5, lambda: (2, 2)) is StopReason.FOUND
    assert batches.decide(2, lambda: (1, 1)) is None
    assert [r.prompt_id for r in next(batches)] == [2, 2, 9, 9]
    batches.drop(2)
    assert batches.decide(9, lambda: (0, 0)) is None
    assert [r.prompt_id for r in next(batches)] == [9, 9]
    with pytest.raises(ArgumentValueError, match="call decide"):
        next(batches)
    assert batches.decide(9, lambda: (3, 3)) is StopReason.FOUND
    assert list(batches) == []


def test_constant_frames_are_flagged() -> None:
    frames = np.zeros((4, 8, 8, 3), np.uint8)
    frames[1] = 200
    frames[2, 3, 3, 1] = 1
    frames[3] = (10, 20, 30)
    for images in (frames, torch.from_numpy(frames)):
        assert flag_constant(images).tolist() == [True, True, False, True]
    assert flag_constant(frames[:0]).shape == (0,)


def _noise(prompts: list[str], seeds: list[int]) -> np.ndarray:
    return np.stack([np.random.default_rng(s).integers(0, 256, (8, 8, 3), dtype=np.uint8) for s in seeds])


def test_any_callable_is_a_sampler() -> None:
    from PIL import Image

    sampler = CallableSampler(_noise, (8, 8, 3), "noise-1")
    assert isinstance(sampler, Sampler)
    images = sampler.sample(REQUESTS)
    assert images.pixels.shape == (2, 8, 8, 3)
    as_pil = CallableSampler(lambda p, s: [Image.fromarray(x) for x in _noise(p, s)], (8, 8, 3), "noise-2")
    assert np.array_equal(as_pil.sample(REQUESTS).pixels, images.pixels)
    tensors = CallableSampler(lambda p, s: list(torch.from_numpy(_noise(p, s))), (8, 8, 3), "noise-3")
    assert np.array_equal(tensors.sample(REQUESTS).pixels.numpy(), images.pixels)
    black = CallableSampler(lambda p, s: np.zeros((len(s), 8, 8, 3), np.uint8), (8, 8, 3), "black")
    assert black.sample(REQUESTS).flagged.all()


def _sample(function: Any) -> Any:
    return CallableSampler(function, (8, 8, 3), "f").sample(REQUESTS)


def _check(pixels: Any, flagged: Any = None) -> None:
    check_images(Images(pixels, np.zeros(2, np.bool_) if flagged is None else flagged), REQUESTS, (8, 8, 3))


VALUE, TYPE = ArgumentValueError, ArgumentTypeError
LARGEST = 2**63 - 1
WRONG: list[tuple[Any, type[MemcoreError], str]] = [
    (lambda: CallableSampler("f", (8, 8, 3), "f"), TYPE, "function must be callable, got str"),
    (
        lambda: CallableSampler(_noise, (8, 8), "f"),
        VALUE,
        "image_shape must be (height, width, channels), got (8, 8)",
    ),
    (lambda: CallableSampler(_noise, (8, 0, 3), "f"), VALUE, "image_shape must be >= 1, got 0"),
    (
        lambda: CallableSampler(_noise, (8, 8, 3), ""),
        VALUE,
        "fingerprint must be a text that is not empty, got ''",
    ),
    (
        lambda: _sample(lambda p, s: 1 / 0),
        SamplerError,
        "the sampler's function raised ZeroDivisionError: division by zero",
    ),
    (
        lambda: _sample(lambda p, s: _noise(p, s)[:1]),
        SamplerError,
        "the sampler's pixels must have the shape (2, 8, 8, 3) (N, H, W, C), got (1, 8, 8, 3)",
    ),
    (
        lambda: _sample(lambda p, s: _noise(p, s).transpose(0, 3, 1, 2)),
        SamplerError,
        "the sampler's pixels must have the shape (2, 8, 8, 3) (N, H, W, C), got (2, 3, 8, 8); "
        "permute(0, 2, 3, 1) puts channels last",
    ),
    (
        lambda: _sample(lambda p, s: _noise(p, s) / 255),
        SamplerError,
        "the sampler's pixels must be uint8, got float64; memcore.to_uint8() converts",
    ),
    (
        lambda: _sample(lambda p, s: None),
        SamplerError,
        "the sampler's pixels must be a NumPy array or a torch tensor, got NoneType",
    ),
    (
        lambda: _sample(lambda p, s: [np.zeros((8, 8, 3)), np.zeros((4, 4, 3))]),
        SamplerError,
        "the sampler's list of images cannot be stacked: all input arrays must have the same shape",
    ),
    (
        lambda: _sample(lambda p, s: []),
        SamplerError,
        "the sampler's pixels must have the shape (2, 8, 8, 3) (N, H, W, C), got (0,)",
    ),
    (
        lambda: check_images(np.zeros(3), REQUESTS, (8, 8, 3)),
        SamplerError,
        "the sampler must return memcore.Images, got ndarray",
    ),
    (
        lambda: _check(_noise(["", ""], [1, 2]), np.zeros(1, np.bool_)),
        SamplerError,
        "the sampler's flagged must be bool of shape (2,), got array([False])",
    ),
    (lambda: derive_seed(-1, 0, 0), VALUE, f"run_seed must be in [0, {LARGEST}], got -1"),
    (lambda: derive_seed(0, 2**63, 0), VALUE, f"prompt_id must be in [0, {LARGEST}], got {2**63}"),
    (lambda: derive_seed(0, 0, 1.5), TYPE, "index must be an integer, got float"),
    (lambda: Fixed(0), VALUE, "generations must be >= 1, got 0"),
    (lambda: interleave([], Fixed(1), 0, run_seed=0), VALUE, "batch_size must be >= 1, got 0"),
    (
        lambda: list(interleave([(1, "a"), (1, "b")], Fixed(1), 4, run_seed=0)),
        VALUE,
        "prompts holds the prompt_id 1 twice",
    ),
]


@pytest.mark.parametrize(("call", "error", "text"), WRONG)
def test_wrong_call(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == text
