"""A UNet as a Denoiser, and its training: exact, independent of batches, resumed as if nothing had happened."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from memcore.errors import ConfigError, RunError
from memcore.study.classifier import FeatureNetwork
from memcore.study.data.images import ImageSet
from memcore.study.frechet import frechet_distance
from memcore.study.models.denoiser import Denoiser
from memcore.study.models.folder import load_folder
from memcore.study.models.noise import draw_noise
from memcore.study.models.unet import new_unet, noise_schedule, split_prediction
from memcore.study.protocols.protocol import Factors, QualitySpec
from memcore.study.training.descent import learning_share
from memcore.study.training.trainer import Trainer, spans, weights_digest
from tests.support.study_sets import blobs

TINY = Factors(n=16, steps=12, width=8, batch=4)


@pytest.fixture(autouse=True)
def _one_thread() -> object:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def trainer(factors: Factors = TINY, channels: int = 1) -> Trainer:
    images = blobs(16, channels=channels)
    labels = None if factors.labels == "none" else np.arange(16) % 3
    return Trainer(factors, images, labels, 0 if labels is None else 3, (5, 0))


VARIANTS = [
    TINY,
    dataclasses.replace(TINY, flips=True, prediction="v_prediction", schedule="cosine"),
    dataclasses.replace(
        TINY, labels="class", attention=True, prediction="sample", weight_decay=0.1, unshuffle=1
    ),
]


@pytest.mark.parametrize("factors", VARIANTS)
def test_a_saved_state_goes_on_to_the_same_bytes(factors: Factors) -> None:
    whole, first = trainer(factors), trainer(factors)
    whole.run(6)
    whole.mark()
    whole.run(6)
    first.run(6)
    first.mark()
    second = trainer(factors)
    second.load_state(first.state())
    second.run(6)
    assert second.weights() == whole.weights()
    assert second.state() == whole.state()
    assert second.history == whole.history
    assert second.loss == whole.loss


def test_a_state_of_other_factors_or_a_damaged_one_is_refused() -> None:
    held = trainer()
    held.run(1)
    state = held.state()
    with pytest.raises(RunError, match="other factors"):
        trainer(dataclasses.replace(TINY, learning_rate=1e-3)).load_state(state)
    for damaged in (b"", state[:100], b"x" * 200):
        with pytest.raises(RunError, match="damaged"):
            trainer().load_state(damaged)


def test_training_is_a_plain_loop_of_pytorch() -> None:
    """The weights are those of a plain loop with OneCycleLR, AdamW and an average."""
    ours = trainer()
    ours.run(12)
    net = new_unet(TINY, (8, 8, 1), 0, (5, 0)).train()
    average = copy.deepcopy(net)
    pixels = torch.from_numpy(blobs(16)[..., 0].copy())[:, None].float() / 127.5 - 1
    clean = F.pixel_unshuffle(pixels, 2)
    alphas = noise_schedule("linear", 1000)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 2e-3, total_steps=12, pct_start=0.25, cycle_momentum=False
    )
    random = torch.Generator().manual_seed(
        int(np.random.SeedSequence([5, 0, 9]).generate_state(1, np.uint64)[0]) >> 1
    )
    theirs = trainer(dataclasses.replace(TINY, warmup=0.25))
    theirs.run(12)
    for step in range(12):
        chosen = torch.randint(16, (4,), generator=random)
        times = torch.randint(1000, (4,), generator=random)
        noise = torch.randn(clean[chosen].shape, generator=random)
        a = alphas[times].view(-1, 1, 1, 1)
        out = net(a.sqrt() * clean[chosen] + (1 - a).sqrt() * noise, times).sample
        loss = F.mse_loss(out, noise)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        kept = min(0.995, (step + 1) / (step + 10))
        for held, new in zip(average.parameters(), net.parameters(), strict=True):
            held.data.lerp_(new.data, 1 - kept)
    for ours_, plain in zip(theirs.average.parameters(), average.parameters(), strict=True):
        assert torch.allclose(ours_, plain, atol=1e-5)
    assert ours.weights() != theirs.weights()


@pytest.mark.parametrize(("steps", "warmup"), [(40, 0.25), (100, 0.05), (7, 0.5)])
def test_the_learning_rate_is_that_of_one_cycle(steps: int, warmup: float) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=steps, pct_start=warmup)
    for step in range(steps):
        assert learning_share(step, steps, warmup) == pytest.approx(schedule.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        if step < steps - 1:
            schedule.step()


def test_spans_end_at_every_checkpoint_and_interval() -> None:
    assert list(spans(0, 10, [3], 4)) == [3, 4, 8, 10]
    assert list(spans(8, 10, [3], 4)) == [10]
    assert list(spans(10, 10, [3], 4)) == []


@pytest.mark.parametrize("factors", VARIANTS)
def test_results_do_not_depend_on_their_neighbours(factors: Factors) -> None:
    held = trainer(factors)
    held.run(3)
    model = held.model
    assert isinstance(model, Denoiser)
    images = blobs(70)
    labels = None if factors.labels == "none" else np.arange(70) % 3
    few = None if labels is None else labels[:5]
    assert np.array_equal(model.losses(images, 50, 7, labels)[:5], model.losses(images[:5], 50, 7, few))
    assert np.array_equal(model.sample(range(70), 3, labels)[:5], model.sample(range(5), 3, few))
    back = None if labels is None else labels[::-1].copy()
    assert np.array_equal(model.sample(range(70)[::-1], 3, back)[::-1], model.sample(range(70), 3, labels))
    known = np.zeros((8, 8), bool)
    known[:, :4] = True
    filled = model.inpaint(images, known, range(70), 3, labels)
    assert np.array_equal(filled[:, known], images[:, known])
    assert np.array_equal(filled[:5], model.inpaint(images[:5], known, range(5), 3, few))
    assert (filled[:, ~known] != images[:, ~known]).any()


def test_two_models_see_the_same_noise() -> None:
    first, second = trainer(), trainer(dataclasses.replace(TINY, steps=2))
    x = draw_noise([(7, 0), (7, 1), (8, 0)], (4,))
    assert torch.equal(draw_noise([(7, 1)], (4,))[0], x[1])
    assert len({tuple(row.tolist()) for row in x}) == 3
    assert np.array_equal(
        first.model.sample([3], 2), second.model.sample([3], 2)
    )  # both untrained, of one seed


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_each_kind_of_prediction_gives_back_image_and_noise(prediction: str) -> None:
    random = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(2, 1, 4, 4, generator=random, dtype=torch.float64) for _ in range(2))
    alpha = torch.tensor(0.3, dtype=torch.float64)
    a, b = alpha.sqrt(), (1 - alpha).sqrt()
    out = {"epsilon": noise, "sample": clean, "v_prediction": a * noise - b * clean}[prediction]
    found = split_prediction(a * clean + b * noise, out, alpha, prediction)  # type: ignore[arg-type]
    assert torch.allclose(found[0], clean)
    assert torch.allclose(found[1], noise)


def test_a_net_that_knows_the_noise_has_no_loss_and_samples_its_one_image() -> None:
    """A point mass: its best prediction of the noise is (x - sqrt(alpha) image) / sqrt(1 - alpha)."""
    held = trainer(dataclasses.replace(TINY, unshuffle=1))
    image = blobs(1)
    alphas = noise_schedule("linear", 1000)
    clean = torch.from_numpy(image.transpose(0, 3, 1, 2).copy()).float() / 127.5 - 1

    class Point(torch.nn.Module):
        config = held.model.net.config

        def forward(self, x, times, class_labels=None, return_dict=False):  # type: ignore[no-untyped-def]
            a = alphas[times].view(-1, 1, 1, 1)
            return ((x - a.sqrt() * clean) / (1 - a).sqrt(),)

    held.model.net = Point().eval()  # type: ignore[assignment]
    assert held.model.losses(image, 50, 7).max() < 1e-6
    assert held.model.losses(255 - image, 50, 7).min() > 1
    assert np.array_equal(held.model.sample(range(3), 10), np.repeat(image, 3, axis=0))


def test_a_folder_of_diffusers_is_attacked_as_it_is(tmp_path: Path) -> None:
    from diffusers import DDPMPipeline, DDPMScheduler

    factors = dataclasses.replace(TINY, unshuffle=1)
    held = trainer(factors)
    held.run(2)
    DDPMPipeline(held.average, DDPMScheduler(num_train_timesteps=1000)).save_pretrained(tmp_path)
    model = load_folder(tmp_path)
    assert model.shape == (8, 8, 1)
    assert np.array_equal(model.sample(range(3), 3), held.model.sample(range(3), 3))
    assert np.array_equal(model.losses(blobs(5), 50, 7), held.model.losses(blobs(5), 50, 7))
    with pytest.raises(ConfigError, match="does not exist"):
        load_folder(tmp_path / "other")


def test_the_digest_of_weights_is_that_of_their_numbers() -> None:
    first, second = trainer(), trainer()
    assert weights_digest(first.weights()) == weights_digest(second.weights())
    second.run(1)
    assert weights_digest(first.weights()) != weights_digest(second.weights())


def test_the_frechet_distance_of_gaussians_is_known() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 3))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, 2 * x + [1, 0, 0]) == pytest.approx(
        np.square(x.mean(0) * 2 + [1, 0, 0] - x.mean(0)).sum() + np.trace(np.cov(x.T)), rel=1e-6
    )
    few = rng.normal(size=(3, 10))
    assert np.isfinite(frechet_distance(few, x[:, :1] @ np.ones((1, 10))))


@pytest.mark.parametrize("classes", [0, 2])
def test_the_feature_network_learns_from_images_that_no_model_sees(classes: int) -> None:
    images = np.concatenate([blobs(150), 255 - blobs(150, seed=1)])
    images[:, :3] //= 3  # so that a turn can be told
    labels = np.repeat([0, 1], 150) if classes else np.full(300, -1)
    data = ImageSet(images[:1], labels[:1], images, labels, "blobs")
    network = FeatureNetwork(data, QualitySpec(steps=120, features=8))
    assert network.train() > 0.8
    again = FeatureNetwork(data, QualitySpec(steps=120, features=8))
    again.load_weights(network.weights())
    held = network.features(images[:70])
    assert held.shape == (70, 8)
    assert np.array_equal(again.features(images[:3]), held[:3])
