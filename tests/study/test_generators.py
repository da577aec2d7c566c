"""GANs, flow matching, an autoregressive model and generators of others: exact, resumed, and judged against known truth."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from memcore.errors import ConfigError, RunError
from memcore.study.models.autoregressive import CODES, new_autoregressive
from memcore.study.models.flow import TIME_SCALE, FlowGenerator
from memcore.study.models.gan import count_levels
from memcore.study.models.generator import Generator, to_pixels
from memcore.study.models.noise import draw_noise
from memcore.study.models.stylegan import Modulated
from memcore.study.protocols.expand import expand
from memcore.study.protocols.protocol import Factors
from memcore.study.protocols.read import read_protocol
from memcore.study.training.augment import augment
from memcore.study.training.autoregressive import AutoregressiveTrainer
from memcore.study.training.gan import GanTrainer
from memcore.study.training.make import Training, new_training
from tests.support.study_sets import blobs

TINY = Factors(n=16, steps=8, width=8, batch=4, learning_rate=5e-4)
KINDS = [
    dataclasses.replace(TINY, model="dcgan", flips=True),
    dataclasses.replace(TINY, model="wgan-gp", augment=False),
    dataclasses.replace(TINY, model="stylegan"),
    dataclasses.replace(TINY, model="flow"),
    dataclasses.replace(TINY, model="autoregressive"),
]
each_kind = pytest.mark.parametrize("factors", KINDS, ids=lambda factors: factors.model)


@pytest.fixture(autouse=True)
def _one_thread() -> object:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def training(factors: Factors, channels: int = 1) -> Training:
    return new_training(factors, blobs(16, channels=channels), None, 0, (5, 0))


@each_kind
def test_a_saved_state_goes_on_to_the_same_bytes(factors: Factors) -> None:
    """Half-way the autoregressive model has left its first part, and StyleGAN has its augmentation and R1 behind it."""
    whole, first = training(factors), training(factors)
    whole.run(4)
    whole.mark()
    middle = whole.model.sample(range(3), 2)
    whole.run(4)
    first.run(4)
    weights = first.mark()
    second = training(factors)
    second.load_state(first.state())
    second.run(4)
    assert second.state() == whole.state()
    assert second.history == whole.history
    assert second.loss == whole.loss
    assert second.mark() == whole.mark()
    assert second.mark() != weights
    second.load_weights(weights)
    assert np.array_equal(second.model.sample(range(3), 2), middle)


@each_kind
def test_a_state_of_other_factors_or_a_damaged_one_is_refused(factors: Factors) -> None:
    held = training(factors)
    held.run(1)
    state = held.state()
    with pytest.raises(RunError, match="other factors"):
        training(dataclasses.replace(factors, learning_rate=1e-3)).load_state(state)
    for damaged in (b"", state[:100], b"x" * 200):
        with pytest.raises(RunError, match="damaged"):
            training(factors).load_state(damaged)


@each_kind
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_depends_on_its_seed_alone(factors: Factors, channels: int) -> None:
    held = training(factors, channels)
    held.run(2)
    model = held.model
    assert isinstance(model, Generator)
    many = model.sample(range(70), 2)
    assert many.shape == (70, 8, 8, channels)
    assert np.array_equal(many[:5], model.sample(range(5), 2))
    assert np.array_equal(many[69:], model.sample([69], 2))
    assert np.array_equal(many[::-1], model.sample(range(70)[::-1], 2))
    assert len({image.tobytes() for image in many}) == 70
    with pytest.raises(ConfigError, match="no classes"):
        model.sample([1], 2, np.zeros(1, np.int64))


def test_the_models_of_earlier_protocols_are_what_they_were() -> None:
    """Ids name files and seed nothing new: a study that was begun before there were other kinds is resumed."""
    expected = {
        "quick": "419821e9ebf43732",
        "laptop": "d1f9890b6fddba6e",
        "full": "75e6340e49dacede",
        "cifar10": "c5bc7ad07a5acc9b",
    }
    for name, digest in expected.items():
        ids = "\n".join(spec.id for spec in expand(read_protocol(name)))
        assert hashlib.sha256(ids.encode()).hexdigest()[:16] == digest


def test_a_gan_learns_the_brightness_of_its_images() -> None:
    """Two flat images: after some steps the made images are as bright as those, and differ from an untrained GAN's."""
    images = np.stack([np.full((8, 8, 1), level, np.uint8) for level in (40, 200)])
    factors = dataclasses.replace(
        TINY, model="dcgan", augment=False, steps=150, batch=16, learning_rate=2e-3, ema=0.9
    )
    held = GanTrainer(factors, images, (1, 0))
    before = (
        np.abs(held.model.sample(range(64), 1).mean(axis=(1, 2, 3))[:, None] - [40, 200]).min(axis=1).mean()
    )
    held.run(150)
    after = (
        np.abs(held.model.sample(range(64), 1).mean(axis=(1, 2, 3))[:, None] - [40, 200]).min(axis=1).mean()
    )
    assert after < 0.5 * before


def test_the_share_of_augmented_images_follows_the_critic() -> None:
    held = GanTrainer(dataclasses.replace(TINY, model="stylegan"), blobs(16), (1, 0))
    for _ in range(30):
        held._adapt(torch.ones(64))
    up = held._numbers["share"]
    assert 0.015 < up <= 30 * 64 / 50_000
    for _ in range(100):
        held._adapt(-torch.ones(64))
    assert held._numbers["share"] == 0


def test_augmented_images_keep_their_gradient_and_their_share() -> None:
    images = torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    random = torch.Generator().manual_seed(1)
    assert torch.equal(augment(images, random, share=0.0), images)
    at = images.clone().requires_grad_(True)
    augment(at, random).sum().backward()
    assert at.grad is not None
    assert (at.grad != 0).float().mean() > 0.3
    changed = (augment(images, random, share=0.2) != images).flatten(1).any(dim=1).float().mean()
    assert 0.4 < changed < 0.95  # 1 - 0.8^5 = 0.67
    first, second = (augment(images, torch.Generator().manual_seed(2)) for _ in range(2))
    assert torch.equal(first, second)


def test_shift_and_cut_out_are_what_they_say() -> None:
    from memcore.study.training.augment import _cut_out, _shift

    images = torch.arange(1.0, 65.0).view(1, 1, 8, 8).expand(200, 1, 8, 8)
    moved = _shift(images, torch.Generator().manual_seed(0))
    expected = {
        F.pad(images[0, 0], (1, 1, 1, 1))[1 - dy : 9 - dy, 1 - dx : 9 - dx].numpy().tobytes()
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
    }
    assert {image[0].contiguous().numpy().tobytes() for image in moved} == expected
    cut = _cut_out(images, torch.Generator().manual_seed(0))
    gone = (cut == 0).view(200, -1).sum(dim=1)
    assert gone.max() == 16  # a square of half a side, whole
    assert gone.min() >= 4  # and a quarter of it where its middle is at a corner
    assert torch.equal(cut[cut != 0], images[cut != 0])


def test_modulation_is_that_of_the_weights_of_each_image() -> None:
    torch.manual_seed(0)
    layer = Modulated(3, 5, 3)
    x, w = torch.randn(4, 3, 6, 6), torch.randn(4, 64)
    found = layer(x, w)
    for i in range(4):
        weight = layer.weight * layer._scale * layer.style(w)[i][None, :, None, None]
        weight = weight * (weight.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).rsqrt()
        plain = F.conv2d(x[i : i + 1], weight, padding=1)[0]
        assert torch.allclose(found[i], plain, atol=1e-5)


def test_a_flow_that_knows_its_one_image_samples_it() -> None:
    """At t the point is (1 - t) image + t noise, so that the way is (point - image) / t."""
    image = blobs(1)
    clean = torch.from_numpy(image.transpose(0, 3, 1, 2).copy()).float() / 127.5 - 1

    class Straight(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.none = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor, times: torch.Tensor, return_dict: bool) -> tuple[torch.Tensor]:
            return ((x - clean) / (times / TIME_SCALE).view(-1, 1, 1, 1),)

    model = FlowGenerator(Straight(), (8, 8, 1), 1)  # type: ignore[arg-type]
    for steps in (1, 7):
        assert np.array_equal(model.sample(range(3), steps), np.repeat(image, 3, axis=0))


def test_tokens_are_drawn_one_after_the_other_and_see_nothing_later() -> None:
    """All logits at once, of the tokens that were drawn, give the same tokens from the same noise."""
    net = new_autoregressive(dataclasses.replace(TINY, width=16), (8, 8, 1), (3,)).eval()
    torch.manual_seed(0)
    torch.nn.init.normal_(net.model.out.weight)
    noise = draw_noise([(seed, 0) for seed in range(4)], (net.side**2, CODES))
    taken: list[torch.Tensor] = []
    quantise = net.quantiser.quantise
    net.quantiser.quantise = lambda tokens: taken.append(tokens) or quantise(tokens)  # type: ignore[func-returns-value, method-assign, assignment]
    with torch.no_grad():
        net(noise)
        tokens = taken[0].flatten(1)
        logits = net.model(net.model.shift(tokens)).double()
        uniform = torch.special.ndtr(noise.double())
        assert torch.equal((logits - torch.log(-torch.log(uniform))).argmax(dim=2), tokens)
        changed = tokens.clone()
        changed[:, 9:] = 0
        assert torch.allclose(net.model(net.model.shift(changed))[:, :10].double(), logits[:, :10], atol=1e-5)


def test_the_quantiser_learns_and_entries_in_use_are_kept() -> None:
    images = blobs(16)
    factors = dataclasses.replace(TINY, model="autoregressive", steps=400, batch=16, learning_rate=3e-3)
    held = AutoregressiveTrainer(factors, images, (1, 0))

    def error() -> float:
        quantiser = held.average.quantiser
        clean = held._images
        made = quantiser.decode(quantiser.quantise(quantiser.tokens(quantiser.encode(clean))))
        return float(np.abs(to_pixels(made).astype(int) - images).mean())

    before = error()
    held.run(160)
    assert error() < 0.35 * before
    frozen = {k: v.clone() for k, v in held.average.quantiser.state_dict().items()}
    held.run(10)
    assert all(torch.equal(v, frozen[k]) for k, v in held.average.quantiser.state_dict().items())


@pytest.mark.parametrize("shape", [(4, 4, 1), (12, 12, 1), (16, 8, 1)])
def test_sides_that_a_gan_cannot_make_are_named(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigError, match="8, 16, 32"):
        count_levels(shape)
