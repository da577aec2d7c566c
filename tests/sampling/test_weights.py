"""Weights as the hub has them: in shards, in one file, and with an adapter that is fused into them."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from memcore.audit.source import check_model, make_source  # noqa: E402
from memcore.cli import main  # noqa: E402
from memcore.errors import ConfigError, MissingExtraError  # noqa: E402
from memcore.runs.config import Config  # noqa: E402
from memcore.types import Request  # noqa: E402
from tests.support import tiny_pipelines  # noqa: E402
from tests.support.single_file import save_single_file  # noqa: E402

REQUESTS = [Request(0, "a fox", 1), Request(0, "a fox", 2)]


@pytest.fixture(scope="module")
def pipe() -> Any:
    return tiny_pipelines.make("stable diffusion 1")


@pytest.fixture(scope="module")
def whole(pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    pipe.save_pretrained(folder)
    return folder


def sampler(model: Path, **options: Any) -> Any:
    return make_source(Config(model=str(model), steps=2, guidance_scale=3.0, height=16, width=16, **options))


def content(model: Path, **options: Any) -> tuple[str, bytes]:
    """Return the fingerprint of a model, and the bytes of two images."""
    made = sampler(model, **options)
    return made.fingerprint, made.sample(REQUESTS).pixels.numpy().tobytes()


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_shards(variant: str | None, pipe: Any, whole: Path, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path, max_shard_size="10KB", variant=variant)
    infix = f".{variant}" if variant else ""
    index = json.loads(
        (tmp_path / "unet" / f"diffusion_pytorch_model.safetensors.index{infix}.json").read_text()
    )
    assert len(set(index["weight_map"].values())) > 2
    assert content(tmp_path, variant=variant) == content(whole)
    assert len(list((tmp_path / "text_encoder").glob("model*-of-*.safetensors"))) > 1


@pytest.mark.parametrize("library", ["unclip", "diffusers"])
def test_unclip_from_a_folder(library: str, tmp_path: Path) -> None:
    """The old place is what published weights name, the other what diffusers writes now and does not read."""
    made = tiny_pipelines.make("unclip")
    made.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    index["text_proj"][0] = library
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    loaded: Any = make_source(Config(model=str(tmp_path), steps=2, guidance_scale=3.0))
    for name, tensor in made.text_proj.state_dict().items():
        assert torch.equal(loaded._pipe.text_proj.state_dict()[name], tensor)


def test_a_shard_that_is_missing_is_named(pipe: Any, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path, max_shard_size="100KB")
    lost = sorted((tmp_path / "unet").glob("*-0*.safetensors"))[1]
    lost.unlink()
    with pytest.raises(ConfigError, match="cannot be loaded as a diffusers pipeline") as raised:
        sampler(tmp_path)
    assert lost.name in str(raised.value) or "unet" in str(raised.value)


def test_one_file(pipe: Any, whole: Path, tmp_path: Path) -> None:
    save_single_file(pipe, tmp_path / "model.safetensors")
    configs = tmp_path / "configs"
    shutil.copytree(whole, configs, ignore=shutil.ignore_patterns("*.safetensors"))
    fingerprint, images = content(tmp_path / "model.safetensors", model_config=str(configs))
    same = sampler(whole)
    assert images == same.sample(REQUESTS).pixels.numpy().tobytes()
    shutil.move(tmp_path / "model.safetensors", tmp_path / "other.safetensors")
    made = sampler(tmp_path / "other.safetensors", model_config=str(configs))
    assert made.fingerprint == fingerprint  # its name is not part of it
    weights = {name: text for name, text in made.describe().items() if name.startswith("component.")}
    assert weights == {name: text for name, text in same.describe().items() if name.startswith("component.")}


def test_what_one_file_needs(pipe: Any, whole: Path, tmp_path: Path) -> None:
    save_single_file(pipe, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=r"variant must be left out: model=.* is one file"):
        sampler(tmp_path / "model.safetensors", model_config=str(whole), variant="fp16")
    with pytest.raises(
        ConfigError, match=r"give the folder or the hub's name of a pipeline of its kind as model_config"
    ):
        sampler(tmp_path / "model.safetensors", model_config=str(tmp_path))
    with pytest.raises(ConfigError, match=r"model_config is of a model in one file"):
        sampler(whole, model_config=str(whole))
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    with pytest.raises(ConfigError, match=r"cannot be loaded as a diffusers pipeline"):
        sampler(tmp_path / "broken.safetensors", model_config=str(whole))
    (tmp_path / "model.ckpt").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"one \.safetensors file"):
        check_model(str(tmp_path / "model.ckpt"))
    with pytest.raises(ConfigError, match="since they can run code"):
        sampler(tmp_path / "model.ckpt")
    check_model(str(tmp_path / "model.safetensors"))


@pytest.fixture
def adapter(pipe: Any, tmp_path: Path) -> Path:
    """Return a folder with LoRA weights for the attention of the UNet, drawn at random."""
    return make_adapter(pipe, tmp_path / "adapter", seed=1)


def make_adapter(pipe: Any, folder: Path, seed: int, scale: float = 0.3) -> Path:
    from safetensors.torch import save_file

    folder.mkdir()
    random = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, module in pipe.unet.named_modules():
        if name.endswith(("to_q", "to_v")):
            down = torch.randn(2, module.in_features, generator=random)
            up = scale * torch.randn(module.out_features, 2, generator=random)
            tensors |= {f"unet.{name}.lora_A.weight": down, f"unet.{name}.lora_B.weight": up}
    assert tensors
    save_file(tensors, folder / "pytorch_lora_weights.safetensors")
    return folder


def test_an_adapter_is_fused_and_counts_by_its_content(
    pipe: Any, whole: Path, adapter: Path, tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    from safetensors.torch import load_file

    plain, adapted = sampler(whole), sampler(whole, adapter=str(adapter))
    tensors = load_file(adapter / "pytorch_lora_weights.safetensors")
    name = next(n for n in tensors if n.endswith("lora_A.weight")).removesuffix(".lora_A.weight")
    added = tensors[f"{name}.lora_B.weight"] @ tensors[f"{name}.lora_A.weight"]
    place = f"{name.removeprefix('unet.')}.weight"
    before, after = (s._pipe.unet.state_dict()[place] for s in (plain, adapted))
    assert torch.allclose(after, before + added, atol=1e-6)
    assert list(adapted._pipe.unet.state_dict()) == list(
        plain._pipe.unet.state_dict()
    )  # nothing is left beside them
    assert not any(key.startswith("changed.") for key in adapted.describe())
    assert (
        adapted.sample(REQUESTS).pixels.numpy().tobytes() != plain.sample(REQUESTS).pixels.numpy().tobytes()
    )

    moved = shutil.copytree(adapter, tmp_path / "elsewhere")
    other = make_adapter(pipe, tmp_path / "other", seed=2)
    prints = [sampler(whole, adapter=str(a)).fingerprint for a in (moved, other)]
    assert (
        prints[0]
        == adapted.fingerprint
        == sampler(whole, adapter=str(adapter / "pytorch_lora_weights.safetensors")).fingerprint
    )
    assert len({plain.fingerprint, *prints}) == 3


def test_an_adapter_that_cannot_be_fused(pipe: Any, whole: Path, adapter: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    with pytest.raises(ConfigError, match=r"does not exist: give a folder with pytorch_lora_weights"):
        sampler(whole, adapter=str(tmp_path / "none"))
    zero = make_adapter(pipe, tmp_path / "zero", seed=1, scale=0.0)
    with pytest.raises(ConfigError, match="changes no weight of StableDiffusionPipeline"):
        sampler(whole, adapter=str(zero))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="cannot be fused into StableDiffusionPipeline"):
        sampler(whole, adapter=str(tmp_path / "empty"))
    tiny_pipelines.make("ddim").save_pretrained(tmp_path / "ddim")
    with pytest.raises(ConfigError, match="DDIMPipeline takes no LoRA adapters"):
        make_source(Config(model=str(tmp_path / "ddim"), steps=2, adapter=str(adapter)))
    with pytest.raises(ConfigError, match="adapter is of a diffusers model"):
        Config(source="custom", adapter="x")


def test_without_peft_the_command_is_named(
    whole: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from memcore.sampling.diffusers import places

    monkeypatch.setattr(places.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"A LoRA adapter needs the package 'peft'.*\[adapter\]"):
        sampler(whole, adapter=str(adapter))


def test_the_command_line_takes_an_adapter(
    whole: Path, adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("peft")
    (tmp_path / "prompts.txt").write_text("a fox\n")
    flags = ["--prompts", tmp_path / "prompts.txt", "--steps", 1, "--guidance-scale", 1.0, "--generations", 2]
    flags += ["--workers", 1, "--batch-size", 2, "--height", 16, "--width", 16, "--quiet", "--model", whole]
    flags += ["--adapter", adapter]
    # 5: two images are too few to decide anything
    assert main(["audit", str(tmp_path / "run"), *map(str, flags)]) == 5, capsys.readouterr().err
    told = tomllib.loads((tmp_path / "run" / "run.toml").read_text())
    assert told["config"]["adapter"] == str(adapter)
