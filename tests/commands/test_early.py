"""What can be refused before a model is loaded is refused then, and a refused command leaves nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memcore.audit import run_audit
from memcore.cli import main
from memcore.errors import ArgumentValueError, ConfigError
from memcore.runs.config import Config
from memcore.sampling import DiffusersSampler
from memcore.sampling.diffusers import sampler as diffusers_sampler
from memcore.storage.local import LocalStorage
from tests.support import tiny_pipelines
from tests.support.synthetic import SyntheticSampler

SAMPLER = "tests.support.synthetic:SyntheticSampler"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("early") / "model"
    tiny_pipelines.make("stable diffusion 1").save_pretrained(path)
    return path


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    (tmp_path / "prompts.txt").write_text("a fox\na hill\n")
    return tmp_path / "prompts.txt"


@pytest.fixture
def no_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    """No weights are read."""

    def load(*_: Any, **__: Any) -> Any:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(diffusers_sampler, "load_pipeline", load)


@pytest.fixture
def no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker is started."""

    def make(*_: Any, **__: Any) -> Any:
        raise AssertionError("workers were started")

    monkeypatch.setattr(run_audit, "make_pool", make)


@pytest.mark.usefixtures("no_loading")
def test_a_missing_guidance_scale_is_refused_without_the_weights(model: Path) -> None:
    with pytest.raises(
        ArgumentValueError, match="guidance_scale is missing: StableDiffusionPipeline takes it"
    ):
        DiffusersSampler.load(str(model), steps=2, guidance_scale=None, batch_size=2)
    with pytest.raises(ArgumentValueError, match="call_options holds 'nonsense'"):
        DiffusersSampler.load(
            str(model), steps=2, guidance_scale=1.0, batch_size=2, call_options={"nonsense": 1}
        )


@pytest.mark.usefixtures("no_loading")
@pytest.mark.parametrize(
    ("place", "said"),
    [
        ({"device": "cuda"}, "device='cuda' cannot be used: torch finds no CUDA device here"),
        ({"device": "nonsense"}, "device='nonsense' cannot be used"),
        ({"dtype": "int8"}, "dtype must be float32, float16 or bfloat16"),
    ],
)
def test_a_device_that_is_not_there_is_refused_without_the_weights(
    model: Path, place: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises((ConfigError, ArgumentValueError), match=said):
        DiffusersSampler.load(str(model), steps=2, guidance_scale=1.0, batch_size=2, **place)


@pytest.mark.usefixtures("no_workers")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("{tmp}/none", "does not exist"),
        ("./none", "does not exist"),
        ("a/b/c", "does not exist"),
        ("{tmp}", "cannot be loaded as a diffusers pipeline: it has no model_index.json"),
        (
            "{tmp}/prompts.txt",
            "is a file: give the folder of a diffusers pipeline, its name on the hub, or one",
        ),
    ],
)
def test_a_model_that_is_not_there_is_refused_at_once(
    tmp_path: Path, prompts: Path, name: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = name.format(tmp=tmp_path)
    words = ["audit", str(tmp_path / "run"), "--model", path, "--prompts", str(prompts), "--steps", "2"]
    assert main([*words, "--guidance-scale", "1"]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_name_of_the_hub_is_asked_there() -> None:
    from memcore.audit.source import check_model

    for name in ("stabilityai/sd-turbo", "some_model.v2", "a/b"):
        check_model(name)


@pytest.mark.usefixtures("no_workers")
def test_other_prompts_or_settings_than_the_runs_are_refused_at_once(
    tmp_path: Path, prompts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    config = Config(source="custom", generations=12, prompts=str(prompts))
    run_audit.audit(run, config, sampler=SyntheticSampler(), prompts=["a fox", "a hill"], quiet=True)
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    words = ["audit", str(run), "--sampler", SAMPLER, "--prompts", str(prompts), "--generations", "12"]
    for more, said in (
        (["--grid", "2", "2"], "grid: [4, 4] -> [2, 2]"),
        (["--seed", "9"], "seed: 0 -> 9"),
        (["--threshold", "0.2"], "threshold: 0.15 -> 0.2"),
    ):
        assert main([*words, *more]) == 2
        err = capsys.readouterr().err
        assert said in err
        assert "loading" not in err
    prompts.write_text("a fox\na hall\n")
    assert main(words) == 2
    assert "prompts: another list of prompts" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before


def test_what_is_loaded_is_said_before_a_worker_starts(
    tmp_path: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []

    def make(*_: Any, **__: Any) -> Any:
        said.append(capsys.readouterr().err)
        raise ConfigError("no workers today")

    monkeypatch.setattr(run_audit, "make_pool", make)
    words = ["audit", str(tmp_path / "run"), "--sampler", SAMPLER, "--prompts", str(prompts)]
    assert main(words) == 2
    assert main([*words, "--quiet"]) == 2
    assert said[0] == f"memcore: loading {SAMPLER}\n"
    assert "loading" not in said[1]


@pytest.mark.parametrize(
    "words",
    [
        [
            "audit",
            "{run}",
            "--sampler",
            "tests.support.synthetic:Missing",
            "--prompts",
            "{prompts}",
            "--quiet",
        ],
        ["audit", "{run}", "--sampler", "no.such.module:x", "--prompts", "{prompts}", "--quiet"],
    ],
)
@pytest.mark.parametrize("run", ["run", "deep/below/run"])
def test_a_refused_command_leaves_no_folder(
    tmp_path: Path, prompts: Path, words: list[str], run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 says that nothing was changed; a folder with a .lock stayed (N-X5)."""
    place = tmp_path / run
    assert main([w.format(run=place, prompts=prompts) for w in words]) == 2, capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["prompts.txt"]
    place.mkdir(parents=True)
    assert main([w.format(run=place, prompts=prompts) for w in words]) == 2
    assert place.is_dir(), "a folder of the user's own stays"
    assert not list(place.iterdir())


def test_a_lock_keeps_what_was_written(tmp_path: Path) -> None:
    with LocalStorage(tmp_path / "a" / "run").lock():
        (tmp_path / "a" / "run" / "run.toml").write_text("")
    assert sorted(p.name for p in (tmp_path / "a" / "run").iterdir()) == [".lock", "run.toml"]
    with LocalStorage(tmp_path / "b").lock():
        pass
    assert (tmp_path / "b" / ".lock").exists(), "nothing failed"
    for name, part in (("c", None), ("d", (1, 2))):
        with pytest.raises(KeyboardInterrupt), LocalStorage(tmp_path / name).lock(part):
            raise KeyboardInterrupt
    assert not (tmp_path / "c").exists()
    assert (tmp_path / "d").exists(), "other parts may hold the same lock"


def test_a_plan_of_no_prompts_or_of_a_folder(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(model)]) == 2
    assert f"the configuration {model} is a folder: give a TOML file" in capsys.readouterr().err
    (tmp_path / "none.txt").write_text("\n")
    toml = tmp_path / "audit.toml"
    toml.write_text(f'model = "{model}"\nprompts = "{tmp_path}/none.txt"\nsteps = 1\nguidance_scale = 1.0\n')
    assert main(["plan", str(toml)]) == 2
    assert "there is not a single prompt" in capsys.readouterr().err
