"""GANs, flow matching, an autoregressive model and generators of others: exact, resumed, and judged against known truth."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from memcore.engine.scheduler import run_here
from memcore.errors import ConfigError, RunError, SamplerError
from memcore.study.data.load import load_data
from memcore.study.data.sets import draw_sets
from memcore.study.folder import StudyFolder, StudyStart
from memcore.study.models.autoregressive import CODES, new_autoregressive
from memcore.study.models.flow import TIME_SCALE, FlowGenerator
from memcore.study.models.gan import count_levels
from memcore.study.models.generator import Generator, to_pixels
from memcore.study.models.loaded import load_generator
from memcore.study.models.noise import draw_noise
from memcore.study.models.stylegan import Modulated
from memcore.study.plan import plan_study
from memcore.study.protocols.expand import expand
from memcore.study.protocols.protocol import Factors
from memcore.study.protocols.read import parse_protocol, read_protocol
from memcore.study.tables import read_rows
from memcore.study.task import StudyJob
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
        "laptop": "35474196434348e3",
        "full": "c50b0f946d5cfc64",
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


PROTOCOL = """
name = "generators"
about = "for tests"
interval = 3
[data.images]
kind = "stored"
path = "{path}"
side = 8
block = 120
[extraction]
samples = 70
steps = 2
keep = 4
[quality]
steps = 3
samples = 70
features = 8
[[groups]]
name = "kinds"
seeds = 1
checkpoints = [4]
attacks = ["extraction", "quality", "samples"]
fixed = {{ n = 20, {fixed} }}
"""
TRAINED = 'model = "dcgan", steps = 6, width = 8, batch = 4, learning_rate = 5e-4'


def write_protocol(folder: Path, fixed: str) -> Path:
    """Images of noise: none is near another, so that what is a copy is beyond doubt."""
    images = np.random.default_rng(0).integers(0, 256, (200, 8, 8, 1), np.uint8)
    np.save(folder / "images.npy", images)
    path = folder / "protocol.toml"
    path.write_text(PROTOCOL.format(path=folder / "images.npy", fixed=fixed))
    return path


def do(protocol: Path, study: Path) -> StudyFolder:
    return run_here(StudyJob(StudyStart(str(study), protocol.read_bytes(), str(protocol)), quiet=True))


def rows(folder: StudyFolder, table: Any) -> list[dict[str, Any]]:
    (model,) = folder.specs
    return read_rows(folder.storage, model, table, folder.files()[model])


@pytest.mark.parametrize("factors", KINDS, ids=lambda factors: factors.model)
def test_a_study_trains_and_attacks_each_kind(factors: Factors, tmp_path: Path) -> None:
    fixed = TRAINED.replace("dcgan", factors.model)
    folder = do(write_protocol(tmp_path, fixed), tmp_path / "study")
    (row,) = rows(folder, "generator")
    assert (row["kind"], row["name"]) == (factors.model, "")
    (model,) = rows(folder, "model")
    assert model["parameters"] > 500
    assert [r["step"] for r in rows(folder, "training")] == [4, 6]
    assert {r["step"] for r in rows(folder, "extraction")} == {4, 6}
    assert all(np.isfinite(r["frechet"]) for r in rows(folder, "quality"))
    assert len(rows(folder, "samples")) == 2 * 4


def test_a_killed_gan_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped where its state was saved in the middle of its training, and started again."""
    protocol = write_protocol(tmp_path, TRAINED)
    whole = do(protocol, tmp_path / "whole")
    run = GanTrainer.run

    def stop(self: GanTrainer, steps: int) -> None:
        if self.step >= 3:
            raise KeyboardInterrupt
        run(self, steps)

    monkeypatch.setattr(GanTrainer, "run", stop)
    with pytest.raises(KeyboardInterrupt):
        do(protocol, tmp_path / "killed")
    monkeypatch.setattr(GanTrainer, "run", run)
    assert any((tmp_path / "killed/partial").iterdir())
    again = do(protocol, tmp_path / "killed")
    (model,) = whole.specs
    names = sorted(whole.files()[model])
    assert names == sorted(again.files()[model])
    for name in names:
        assert whole.storage.read(name) == again.storage.read(name), name


@pytest.mark.parametrize(("returned", "share", "unique"), [("members", 1.0, 20), ("held_out", 0.0, 0)])
def test_a_gan_that_returns_its_training_set_is_found_whole_and_one_of_held_out_images_not(
    returned: str, share: float, unique: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"returns_{returned}"
    protocol = write_protocol(tmp_path, f'generator = "{module}:make"')
    parsed = read_protocol(protocol)
    (spec,) = expand(parsed)
    data = load_data(parsed.data["images"])
    sets = draw_sets(data, parsed.data["images"], spec.factors, spec.seed)
    np.save(tmp_path / "known.npy", data.images[getattr(sets, returned)])
    (tmp_path / f"{module}.py").write_text(
        textwrap.dedent(f"""
            import numpy as np

            KNOWN = np.load({str(tmp_path / "known.npy")!r})

            def make(seeds):
                return KNOWN[seeds % len(KNOWN)]
            """)
    )
    monkeypatch.syspath_prepend(tmp_path)
    folder = do(protocol, tmp_path / "study")
    (row,) = rows(folder, "generator")
    assert (row["kind"], row["name"]) == ("loaded", f"{module}:make")
    found = {(r["rule"], r["of"]): r for r in rows(folder, "extraction") if r["copies"] == 0}
    for rule in ("ratio", "adaptive"):
        own = found[rule, "train"]
        assert own["hits"] / own["samples"] == share
        assert own["unique"] == unique
        other = found[rule, "held-out"]
        assert other["hits"] / other["samples"] == 1 - share
    plan = plan_study(parsed, workers=1, seconds=0.01)
    assert plan["kinds"][0]["step_seconds"] == 0


class Striped(torch.nn.Module):
    """Images that are their seed, in TorchScript."""

    def __init__(self) -> None:
        super().__init__()
        self.lift = torch.nn.Parameter(torch.ones(1))

    def forward(self, seeds: torch.Tensor) -> torch.Tensor:
        return ((seeds + self.lift.long()) % 256).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 8, 8, 3)


def test_a_torchscript_file_maps_seeds_to_images(tmp_path: Path) -> None:
    path = tmp_path / "striped.ts"
    torch.jit.script(Striped()).save(str(path))  # type: ignore[no-untyped-call]
    model = load_generator(str(path), (8, 8, 3))
    assert isinstance(model, Generator)
    made = model.sample(range(250, 320), 1)
    assert made[:, 0, 0, 0].tolist() == [(seed + 1) % 256 for seed in range(250, 320)]
    assert model.parameters == 1
    assert model.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(
        ConfigError, match=r"must return uint8 images \(64, 16, 16, 3\) .* got uint8 \(64, 8, 8, 3\)"
    ):
        load_generator(str(path), (16, 16, 3)).sample([1], 1)


def test_what_is_no_generator_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights.pt").write_bytes(b"no script")
    (tmp_path / "odd_generators.py").write_text(
        "answer = 42\n"
        "def fails(seeds):\n    raise OSError('no such file')\n"
        "def floats(seeds):\n    import numpy as np\n    return np.zeros((len(seeds), 8, 8, 1))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    shape = (8, 8, 1)
    for name, said in (
        (str(tmp_path / "weights.pt"), "is no TorchScript file"),
        ("nowhere.ts", "generator=nowhere.ts does not exist"),
        ("odd_generators:missing", "has no 'missing'"),
        ("odd_generators:answer", "must be a function of seeds, got int"),
        ("no_such_module:make", "generator=no_such_module:make: No module"),
    ):
        with pytest.raises(ConfigError, match=said):
            load_generator(name, shape)
    with pytest.raises(
        SamplerError, match=r"generator=odd_generators:fails cannot make images: .*no such file"
    ):
        load_generator("odd_generators:fails", shape).sample([0], 1)
    with pytest.raises(ConfigError, match="got float64"):
        load_generator("odd_generators:floats", shape).sample([0], 1)


def test_a_study_folder_runs_no_code_when_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger's folder names a module: status and report read tables and import nothing of it."""
    from memcore.study.findings import judge_study
    from memcore.study.findings.reading import Study
    from memcore.study.status import study_status

    protocol = write_protocol(tmp_path, 'generator = "trap_module:make"')
    study = tmp_path / "study"
    study.mkdir()
    (study / "protocol.toml").write_bytes(protocol.read_bytes())
    (study / "study.json").write_text('{"format": 1, "fingerprint": "0"}')
    (tmp_path / "trap_module.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path)
    folder = StudyFolder.open(str(study))
    study_status(folder)
    judge_study(Study.of(folder))
    assert not os.path.exists(tmp_path / "sprung")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("n = 20", "n = 20, schedule = 'cosine'", "schedule does nothing to dcgan"),
        ("n = 20", "n = 20, generator = 'a:b'", "leave out folder and model"),
        ("n = 20", "n = 20, labels = 'class'", "dcgan has no classes"),
        (
            '"samples"]',
            '"membership"]',
            "dcgan has no loss of an image and cannot fill one in: no membership",
        ),
        ('model = "dcgan", ', "augment = false, ", "augment does nothing to diffusion"),
        ("dcgan", "gan", "is 'gan', not one of"),
    ],
)
def test_what_a_kind_of_model_cannot_be_asked_is_named(old: str, new: str, said: str) -> None:
    text = PROTOCOL.format(path="images.npy", fixed=TRAINED)
    assert old in text
    with pytest.raises(ConfigError) as caught:
        parse_protocol(text.replace(old, new, 1).encode(), "mine.toml")
    assert said in str(caught.value)
