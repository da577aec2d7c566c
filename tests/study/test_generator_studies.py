"""Studies of GANs and other generators: resumed, judged against known truth, and code run only by who names it."""

from __future__ import annotations

import hashlib
import os
import textwrap
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from memcore.errors import ConfigError, SamplerError
from memcore.study.data.load import load_data
from memcore.study.data.sets import draw_sets
from memcore.study.folder import StudyFolder
from memcore.study.models.generator import Generator
from memcore.study.models.loaded import load_generator
from memcore.study.plan import plan_study
from memcore.study.protocols.expand import expand
from memcore.study.protocols.protocol import ModelKind
from memcore.study.protocols.read import parse_protocol, read_protocol
from memcore.study.tables import read_rows
from memcore.study.training.gan import GanTrainer
from tests.support.study_runs import do


@pytest.fixture(autouse=True)
def _one_thread() -> object:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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


def rows(folder: StudyFolder, table: Any) -> list[dict[str, Any]]:
    (model,) = folder.specs
    return read_rows(folder.storage, model, table, folder.files()[model])


@pytest.mark.parametrize("kind", [kind for kind in get_args(ModelKind) if kind != "diffusion"])
def test_a_study_trains_and_attacks_each_kind(kind: ModelKind, tmp_path: Path) -> None:
    fixed = TRAINED.replace("dcgan", kind)
    folder = do(write_protocol(tmp_path, fixed), tmp_path / "study")
    (row,) = rows(folder, "generator")
    assert (row["kind"], row["name"]) == (kind, "")
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
