"""Studies of other data and models: CIFAR-10's layout, a trained folder, data that changed, a model that diverges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from memcore.engine.scheduler import run_here
from memcore.errors import ConfigError
from memcore.study import prepared
from memcore.study.data import cifar10
from memcore.study.folder import StudyFolder, StudyStart
from memcore.study.rows import Name
from memcore.study.status import status_lines, study_status
from memcore.study.tables import list_models, read_rows
from memcore.study.task import StudyJob
from tests.support.study_runs import do
from tests.support.study_sets import TINY, write_cifar10, write_tiny


@pytest.fixture(autouse=True)
def _one_thread() -> object:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def rows_of(folder: StudyFolder, model: str, table: Name) -> list[dict[str, Any]]:
    return read_rows(folder.storage, model, table, folder.files()[model])


def test_other_data_at_the_same_place_are_refused(tmp_path: Path) -> None:
    text = TINY.replace("seeds = 2", "seeds = 1")
    protocol = write_tiny(tmp_path, text)
    do(protocol, tmp_path / "study")
    images = tmp_path / "images.npy"
    data = bytearray(images.read_bytes())
    data[-1] ^= 255
    images.write_bytes(bytes(data))
    with pytest.raises(ConfigError, match=r"was started with other data or another protocol: data\.images"):
        do(protocol, tmp_path / "study")


def test_a_model_that_diverges_is_given_up_and_the_others_are_done(tmp_path: Path) -> None:
    text = TINY.replace(
        "fixed = {{ n = 24, steps = 6,", "fixed = {{ n = 24, steps = 6, learning_rate = 1.0, ema = 0.0,"
    )
    text = text.replace("steps = 6", "steps = 60")
    protocol = write_tiny(tmp_path, text)
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        from memcore.study.training.trainer import Trainer

        step = Trainer._step

        def diverging(self: Trainer) -> None:
            step(self)
            if self.factors.half >= 0:
                self.loss = float("inf")

        patch.setattr(Trainer, "_step", diverging)
        folder = do(protocol, tmp_path / "study")
    result = study_status(folder)
    assert result["complete"]
    assert (result["models_done"], result["models_failed"]) == (2, 2)
    assert any("diverged before step 4" in line for line in status_lines(result))
    assert len(list_models(folder.storage)) == 2
    folder = do(protocol, tmp_path / "study", retry=True)
    assert study_status(folder)["models_failed"] == 0


def test_the_papers_protocol_runs_on_a_file_of_cifar10s_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps of two of the 16 models, on synthetic images and a small net: what differs at full size is numbers."""
    path = tmp_path / "cifar-10-binary.tar.gz"
    *_, md5 = write_cifar10(path)
    monkeypatch.setattr(cifar10, "MD5", md5)
    text = (Path(prepared.__file__).parent / "protocols" / "cifar10.toml").read_text()
    for old, new in (
        ('device = "cuda"', 'device = "cpu"'),
        ("samples = 1048576", "samples = 128"),
        ("samples = 50000", "samples = 128"),
        ("steps = 50\n", "steps = 2\n"),
        ("tries = 5000\nsteps = 50\n", "tries = 5000\nsteps = 2\n"),
        ("timesteps = [50, 100, 200, 300]\ndraws = 20", "timesteps = [50]\ndraws = 1"),
        ("flips = true\n\n[inp", "\n[inp"),
        ("images = 1000\ntries = 5000", "images = 1\ntries = 2"),
        ("steps = 4000", "steps = 2"),
        ("checkpoints = [50000, 100000]", "checkpoints = [1]"),
        ("steps = 200000, width = 96", "steps = 2, width = 8"),
        ("steps = 200000, width = 96", "steps = 2, width = 8"),
        ("batch = 128, learning", "batch = 2, learning"),
        ("batch = 128, learning", "batch = 2, learning"),
        ("n = 50000", "n = 400"),
        ("n = 50000", "n = 400"),
        ("2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]", "]"),
    ):
        assert old in text, old
        text = text.replace(old, new, 1)
    text = text[: text.index("# Which models leak")]
    protocol = tmp_path / "small.toml"
    protocol.write_text(text)
    start = StudyStart(str(tmp_path / "study"), text.encode(), "small", {"cifar10": str(path)})
    folder = run_here(StudyJob(start, quiet=True))
    assert [spec.factors.half for spec in folder.specs.values()] == [0, 1]
    assert not study_status(folder)["failures"]
    for model in folder.specs:
        (row,) = rows_of(folder, model, "model")
        assert row["members"] == 200
        assert len(rows_of(folder, model, "losses")) >= 400
    assert json.loads((tmp_path / "study" / "study.json").read_text())["data"]["data.cifar10"].startswith(
        "CIFAR-10"
    )


def test_a_model_of_a_folder_is_attacked_without_training(tmp_path: Path) -> None:
    from diffusers import DDPMPipeline, DDPMScheduler

    from memcore.study.models.unet import new_unet
    from memcore.study.protocols.protocol import Factors

    net = new_unet(Factors(width=8, unshuffle=1), (8, 8, 1), 0, (0,))
    DDPMPipeline(net, DDPMScheduler()).save_pretrained(tmp_path / "ready")
    text = (
        TINY[: TINY.index("[[groups]]")].format(path="{path}")
        + f"""
[[groups]]
name = "ready"
attacks = ["extraction", "membership"]
fixed = {{{{ n = 12, steps = 1, folder = "{tmp_path / "ready"}" }}}}
"""
    )
    folder = do(write_tiny(tmp_path, text), tmp_path / "study")
    (model,) = list_models(folder.storage)
    (row,) = rows_of(folder, model, "model")
    assert row["folder"] == "ready"
    assert len(rows_of(folder, model, "losses")) == 36
