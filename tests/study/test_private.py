"""DP-SGD: gradients are each image's own, the noise is as promised, a killed training goes on as if nothing had been."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from memcore.errors import ArgumentValueError, ConfigError
from memcore.study.models.unet import new_unet, noise_schedule
from memcore.study.protocols.protocol import Factors
from memcore.study.training import per_sample
from memcore.study.training.accountant import noise_for, spent_epsilon
from memcore.study.training.draws import Ambient, draw_times
from memcore.study.training.per_sample import clipped_sum, sample_gradients, small_part
from memcore.study.training.private import PrivateTrainer, new_trainer
from memcore.study.training.trainer import Trainer
from tests.support.study_sets import blobs

SMALL = Factors(width=8, steps=6, batch=4)
DP = dataclasses.replace(SMALL, dp_epsilon=5.0, dp_draws=2)
IMAGES = blobs(20)


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def one_by_one(net: nn.Module, names: Any, x: torch.Tensor, t: torch.Tensor, y: torch.Tensor) -> Any:
    """The gradients by plain backward passes, an image at a time."""
    found: dict[str, list[torch.Tensor]] = {name: [] for name in names}
    for i in range(len(x)):
        net.zero_grad()
        torch.autograd.backward([(net(x[i], t[i], return_dict=False)[0] - y[i]).square().mean()])
        for name, parameter in net.named_parameters():
            if name in found:
                assert parameter.grad is not None
                found[name].append(parameter.grad.clone())
    return {name: torch.stack(rows) for name, rows in found.items()}


@pytest.mark.parametrize("factors", [SMALL, dataclasses.replace(SMALL, attention=True, layers=2)])
@pytest.mark.parametrize("part", ["all", "small"])
def test_each_gradient_is_that_of_its_image_alone_in_every_layer(factors: Factors, part: str) -> None:
    net = new_unet(factors, (8, 8, 1), 0, (0,)).double()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        x, y = (torch.randn(3, 2, 4, 4, 4, dtype=torch.float64) for _ in range(2))
    t = torch.tensor([[10, 900], [500, 3], [0, 999]])
    trained = dict(net.named_parameters()) if part == "all" else small_part(net)
    gradients, _ = sample_gradients(net, trained, x, t, y)
    expected = one_by_one(net, trained, x, t, y)
    kinds = {type(module).__name__ for module in net.modules()}
    assert {"Conv2d", "Linear", "GroupNorm"} <= kinds
    assert set(gradients) == set(trained)
    for name, truth in expected.items():
        scale = max(float(truth.abs().max()), 1e-6)
        assert float((gradients[name] - truth).abs().max()) <= 1e-5 * scale, name
    assert any(float(g.abs().max()) > 1e-4 for g in gradients.values())


def test_a_clipped_sum_is_bounded_by_each_images_norm_over_all_layers_together() -> None:
    gradients = {"a": torch.tensor([[3.0], [0.3]]), "b": torch.tensor([[4.0], [0.4]])}
    summed = clipped_sum(gradients, 1.0)
    assert torch.allclose(summed["a"], torch.tensor([0.9]))
    assert torch.allclose(summed["b"], torch.tensor([1.2]))


def test_one_image_moves_the_sum_by_no_more_than_the_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(per_sample, "CHUNK", 3)
    trainer = PrivateTrainer(dataclasses.replace(DP, dp_clip=0.01), IMAGES, (0,))
    trainer.run(1)
    state = trainer._random.get_state()
    sums = []
    for taken in ([1], [1, 2]):
        trainer._random.set_state(state)
        sums.append(trainer._clipped(torch.tensor(taken))[0])
    norms = [math.sqrt(sum(float(s.square().sum()) for s in part.values())) for part in sums]
    assert 0.0099 < norms[0] <= 0.010001
    assert norms[1] <= 0.020001


def test_a_step_adds_the_noise_that_the_accountant_was_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = PrivateTrainer(DP, IMAGES, (0,))
    assert trainer.noise == noise_for(5.0, DP.dp_delta, 4 / 20, 6)
    trainer._begin_private()
    none = {name: torch.zeros_like(p) for name, p in trainer._trained.items()}
    monkeypatch.setattr(trainer, "_clipped", lambda taken: (none, 1.0))
    trainer.run(1)
    grads = torch.cat([p.grad.flatten() for p in trainer._trained.values() if p.grad is not None])
    assert float(grads.std()) == pytest.approx(trainer.noise * DP.dp_clip / DP.batch, rel=0.02)
    assert abs(float(grads.mean())) < 0.05 * float(grads.std())


@pytest.mark.parametrize("public_steps", [0, 3])
@pytest.mark.parametrize("kept", [2, 3, 4])
def test_a_killed_training_goes_on_as_if_nothing_had_been(public_steps: int, kept: int) -> None:
    factors = dataclasses.replace(
        DP, public_steps=public_steps, public="other" if public_steps else "", trainable="small"
    )
    public = blobs(9, seed=5)
    whole, first, second = (new_trainer(factors, IMAGES, None, 0, (0,), public=public) for _ in range(3))
    whole.run(6)
    first.run(kept)
    second.load_state(first.state())
    second.run(6 - kept)
    assert second.weights() == whole.weights()


def test_private_images_leave_no_trace_in_the_public_steps() -> None:
    factors = dataclasses.replace(DP, public_steps=3, public="other")
    weights = []
    for images in (IMAGES, blobs(20, seed=9)):
        trainer = new_trainer(factors, images, None, 0, (0,), public=blobs(9, seed=5))
        trainer.run(3)
        weights.append(trainer.weights())
        trainer.run(1)
        weights.append(trainer.weights())
    assert weights[0] == weights[2]
    assert weights[1] != weights[3]


def test_only_the_small_part_moves() -> None:
    trainer = PrivateTrainer(dataclasses.replace(DP, trainable="small"), IMAGES, (0,))
    before = {name: p.detach().clone() for name, p in trainer.net.named_parameters()}
    trainer.run(2)
    moved = {n for n, p in trainer.net.named_parameters() if not torch.equal(p, before[n])}
    assert moved == set(small_part(trainer.net))
    assert 0 < sum(before[n].numel() for n in moved) < 0.1 * trainer.parameters


def test_a_batch_larger_than_the_training_set_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch must be at most the 3 training rows, got 4"):
        PrivateTrainer(DP, IMAGES[:3], (0,))


def test_a_model_without_a_defence_is_trained_as_before() -> None:
    assert type(new_trainer(SMALL, IMAGES, None, 0, (0,))) is Trainer


# The accountant.


def exact_gaussian_delta(sigma: float, epsilon: float) -> float:
    """Balle and Wang 2018, theorem 8, of sensitivity 1."""

    def phi(z: float) -> float:
        return 0.5 * math.erfc(-z / math.sqrt(2))

    return phi(0.5 / sigma - epsilon * sigma) - math.exp(epsilon) * phi(-0.5 / sigma - epsilon * sigma)


@pytest.mark.parametrize(("sigma", "steps"), [(1.0, 1), (4.0, 16), (3.0, 100)])
def test_without_subsampling_epsilon_is_that_of_the_gaussian_mechanism(sigma: float, steps: int) -> None:
    found = spent_epsilon(sigma, 1.0, steps, 1e-5)
    assert exact_gaussian_delta(sigma / math.sqrt(steps), found) == pytest.approx(1e-5, rel=0.02)


@pytest.mark.parametrize(
    ("sigma", "rate", "steps", "delta", "copies", "other"),
    [
        (1.0, 1.0, 1, 1e-5, 1, 4.377178466864904),
        (1.0, 0.05, 400, 1e-4, 1, 5.735132268124843),
        (0.6, 0.05, 400, 1e-4, 1, 18.764225818054328),
        (2.0, 0.25, 100, 1e-5, 1, 6.44918216090693),
        (4.0, 0.05, 100, 1e-4, 10, 5.309507918352053),
    ],
)
def test_another_accountant_finds_the_same_epsilon(
    sigma: float, rate: float, steps: int, delta: float, copies: int, other: float
) -> None:
    """``other`` is what dp-accounting 0.6.0 computes (benchmarks/independent_epsilon.py)."""
    assert spent_epsilon(sigma, rate, steps, delta, copies=copies) == pytest.approx(other, rel=1e-3)


def test_an_image_with_copies_costs_what_a_row_of_a_larger_gradient_does() -> None:
    assert spent_epsilon(5.0, 1.0, 10, 1e-5, copies=5) == pytest.approx(
        spent_epsilon(1.0, 1.0, 10, 1e-5), rel=0.01
    )
    few = [spent_epsilon(1.0, 0.05, 50, 1e-4, copies=k) for k in (1, 2, 10)]
    assert few == sorted(few)
    assert few[2] > 5 * few[0]


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((0, 0.1, 1, 0.1), "sigma"),
        ((1, 1.1, 1, 0.1), "rate"),
        ((1, 0.1, 0, 0.1), "steps"),
        ((1, 0.1, 1, 0), "delta"),
    ],
)
def test_what_has_no_meaning_is_refused_by_name(arguments: Any, name: str) -> None:
    with pytest.raises(ArgumentValueError, match=f"{name} is out of its range"):
        spent_epsilon(*arguments)


# Timesteps and ambient noise.


def test_a_u_shape_of_nothing_draws_as_before() -> None:
    first, second = (torch.Generator().manual_seed(3) for _ in range(2))
    assert torch.equal(draw_times(50, 1000, 0.0, first), torch.randint(1000, (50,), generator=second))


def test_u_shaped_timesteps_have_the_density_that_is_stated() -> None:
    a, count = 2.0, 200_000
    share = (draw_times(count, 1000, a, torch.Generator().manual_seed(0)).double().numpy() + 0.5) / 1000
    found = np.histogram(share, bins=10, range=(0, 1))[0] / count
    edges = np.linspace(0, 1, 11)
    expected = np.diff(np.sinh(a * (2 * edges - 1))) / (2 * math.sinh(a))
    assert np.abs(found - expected).max() < 5e-3


def test_ambient_noise_has_the_same_whole_noise_and_target_in_the_mean() -> None:
    """Of one image and many fixed noises: x_t has the deviation b_t, and the scaled target the regression of b_t e / s."""
    alphas = noise_schedule("linear", 1000)
    clean = torch.full((40_000, 1, 1, 1), 0.5)
    ambient = Ambient(clean, alphas, 300, (0,))
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    for t in (100, 350):
        times = torch.full((len(clean),), t)
        a, b = alphas[t].sqrt(), (1 - alphas[t]).sqrt()
        plain = a * clean + b * noise
        noisy, scale = ambient.noised(torch.arange(len(clean)), times, noise, plain)
        assert float(noisy.mean()) == pytest.approx(float(a) * 0.5, abs=0.02)
        assert float(noisy.std()) == pytest.approx(float(b), rel=0.02)
        whole = (noisy - a * clean) / b  # the noise that a net without ambient noise would predict
        estimate = noise / scale  # what the scaled loss asks of the net, before the mean
        slope = float((estimate * whole).mean() / whole.square().mean())
        assert slope == pytest.approx(1.0, abs=0.03)
    below = ambient.noised(torch.arange(4), torch.full((4,), 300), noise[:4], plain[:4])
    assert torch.equal(below[0], plain[:4])
    assert torch.equal(below[1], torch.ones(4, 1, 1, 1))


def test_two_draws_of_an_image_above_the_floor_share_its_fixed_noise() -> None:
    alphas = noise_schedule("linear", 1000)
    ambient = Ambient(torch.zeros(2, 1, 8, 8), alphas, 300, (0,))
    quiet = torch.zeros(2, 1, 8, 8)
    times = torch.tensor([301, 301])
    first = ambient.noised(torch.tensor([0, 0]), times, quiet, quiet)[0]
    assert torch.equal(first[0], first[1])
    other = ambient.noised(torch.tensor([1, 1]), times, quiet, quiet)[0]
    assert not torch.equal(first[0], other[0])
    assert float(first.std()) > 0.1
