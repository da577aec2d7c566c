"""The plan: what it measures, its arithmetic, and what it says."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from memcore.audit import audit
from memcore.audit.estimate import MEMORISED, RAY_START_SECONDS, Measured, estimate, measure
from memcore.cli import main
from memcore.errors import ArgumentValueError, ConfigError
from memcore.runs.config import Config
from memcore.sampling import Sequential, outcome
from tests.support import tiny_pipelines
from tests.support.synthetic import PROMPTS, SyntheticSampler, write_stored

MEASURED = Measured(
    load=36.0,
    images=64,
    image=0.5,
    image_low=0.4,
    image_high=0.75,
    decoder=0.1,
    screen=0.05,
    graph=0.02,
    graph_images=500,
    png=0.01,
    png_bytes=500_000,
    image_shape=(512, 512, 3),
)


def config(**changes: Any) -> Config:
    return Config(**{"model": "m", "steps": 50, "shard_prompts": 100, **changes})


def plan(configured: Config, prompts: int = 1000, **options: Any) -> dict[str, Any]:
    return estimate(configured, ["a prompt"] * prompts, MEASURED, **{"workers": 4, **options})


def test_hours_images_and_cost_by_hand() -> None:
    result = plan(config(), machines=10, price=3.0, memorised=0.01)
    fixed, sequential = result["budgets"]["fixed"], result["budgets"]["sequential"]
    work = 1000 * 500 * 0.5 + 1000 * 0.02 + 1000 * 0.01 * 10 * 0.01 + 1000 * 4 * 0.05
    assert fixed["images"] == 500_000
    assert fixed["worker_hours"] == pytest.approx(work / 3600)
    assert fixed["worker_hours_low"] == pytest.approx((work - 500_000 * 0.1) / 3600)
    assert fixed["worker_hours_high"] == pytest.approx((work + 500_000 * 0.25) / 3600)
    assert sum(fixed["stages_hours"].values()) == pytest.approx(fixed["worker_hours"])
    local, ray, slurm = (fixed["launchers"][name] for name in ("local", "ray", "slurm"))
    assert local["hours"] == pytest.approx((36 + work / 4) / 3600)
    assert local["cost"] == pytest.approx(local["hours"] * 3)
    assert ray["hours"] == pytest.approx((RAY_START_SECONDS + 36 + work / 40) / 3600)
    assert ray["cost"] == pytest.approx(ray["hours"] * 30)
    assert (slurm["machines"], slurm["workers"]) == (10, 40)
    worst = float(outcome(Sequential(0.1, 0.01).boundary, Fraction(1, 10)).images) + 16
    assert sequential["images"] == pytest.approx(1000 * (0.99 * 64 + 0.01 * worst), abs=1)
    assert sequential["saved"] == pytest.approx(1 - sequential["images"] / 500_000, abs=1e-5)
    assert sequential["worker_hours"] < 0.2 * fixed["worker_hours"]
    assert fixed["files"] == 2 * 10 + 2 + 100
    assert 100 * 500_000 < fixed["bytes"] < 100 * 500_000 + 200_000


def test_the_papers_audit_saves_what_the_budget_promises() -> None:
    result = plan(config(), prompts=350_000)
    assert result["budgets"]["sequential"]["saved"] > 0.86
    assert plan(config(copy_rate=0.05), 350_000)["budgets"]["sequential"]["saved"] > 0.72
    assert result["budgets"]["fixed"]["launchers"]["local"]["cost"] is None
    assert result["assumed"]["memorised"] == MEMORISED


def test_keeping_all_images_shows_in_bytes_and_files() -> None:
    fixed = plan(config(keep="all"))["budgets"]["fixed"]
    assert fixed["files"] == 2 * 10 + 2 + 500_000
    assert fixed["bytes"] > 500_000 * 500_000
    assert fixed["stages_hours"]["write"] == pytest.approx(500_000 * 0.01 / 3600)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"workers": 0}, "workers must be at least 1, got 0"),
        ({"machines": 0}, "machines must be at least 1, got 0"),
        ({"memorised": 1.5}, "memorised must lie between 0 and 1, got 1.5"),
        ({"price": -1.0}, "price must be at least 0, got -1.0"),
    ],
)
def test_wrong_numbers(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ArgumentValueError) as caught:
        plan(config(), **options)
    assert str(caught.value) == text


def test_files_and_images_are_those_of_a_real_run(tmp_path: Path) -> None:
    """Nothing memorised, a budget that stops: the plan's counts are exact."""
    options = {
        "source": "custom",
        "generations": 60,
        "budget": "sequential",
        "copy_rate": 0.2,
        "shard_prompts": 2,
    }
    prompts = [p for p in PROMPTS if p in ("a green hill", "rain", "a door", "an old clock")]
    folder = audit(
        tmp_path / "run", Config(**options), sampler=SyntheticSampler(), prompts=prompts, quiet=True
    )
    planned = estimate(
        Config(**{**options, "source": "diffusers", "model": "m", "steps": 1}),
        prompts,
        MEASURED,
        workers=1,
        memorised=0,
    )["budgets"]["sequential"]
    assert planned["images"] == sum(r["generated"] for r in folder.findings())
    files = [p for p in folder.path.rglob("*") if p.is_file() and not p.name.startswith(".")]
    assert planned["files"] == len(files)
    assert planned["shards"] == len(folder.shards())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plan")
    tiny_pipelines.make("stable diffusion 1").save_pretrained(folder / "sd")
    (folder / "prompts.txt").write_text("a dog\nred cat\nblue\n")
    (folder / "plan.toml").write_text(
        f'model = "{folder / "sd"}"\nprompts = "{folder / "prompts.txt"}"\nsteps = 1\nguidance_scale = 1.0\n'
        'generations = 20\nbatch_size = 16\nheight = 16\nwidth = 16\nscreen = "one_step"\nshard_prompts = 2\n'
    )
    return folder


def test_the_command_measures_a_pipeline(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "plan",
        str(written / "plan.toml"),
        "--seconds",
        "0.1",
        "--workers",
        "2",
        "--price-per-hour",
        "2",
    ]
    assert main([*arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    measured = result["measured"]
    assert measured["image_shape"] == [16, 16, 3]
    assert measured["images"] >= 32
    assert 0 < measured["image_low"] <= measured["image"] <= measured["image_high"]
    assert 0 < measured["decoder"] < 1
    assert measured["screen"] > 0
    assert measured["graph"] > 0
    assert measured["graph_images"] == 20
    assert result["budgets"]["fixed"]["images"] == 60
    assert result["budgets"]["fixed"]["shards"] == 2
    assert main([*arguments, "--machines", "3"]) == 0
    said = capsys.readouterr().out
    assert "An extrapolation" in said
    assert "slurm 3 machines, 6 workers" in said
    assert "cost" in said
    assert sorted(p.name for p in written.iterdir()) == ["plan.toml", "prompts.txt", "sd"]


def test_stored_images_are_read_and_not_sampled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = write_stored(tmp_path / "stored", 30)
    (tmp_path / "plan.toml").write_text(f'images = "{stored}"\nshard_prompts = 2\n')
    assert main(["plan", str(tmp_path / "plan.toml"), "--seconds", "0.05", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert list(result["budgets"]) == ["fixed"]
    assert result["budgets"]["fixed"]["images"] == 30 * len(PROMPTS)
    assert set(result["budgets"]["fixed"]["stages_hours"]) == {"read", "graph", "write"}
    assert result["measured"]["decoder"] is None


def test_wrong_use(written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="known only to its program"):
        measure(Config(source="custom"), ["a"])
    assert main(["plan", str(tmp_path / "none.toml")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main(["plan", str(written / "plan.toml"), "--seconds", "0"]) == 2
    assert "seconds must be more than 0, got 0.0" in capsys.readouterr().err
    (tmp_path / "plan.toml").write_text('model = "m"\nsteps = 3\n')
    assert main(["plan", str(tmp_path / "plan.toml")]) == 2
    assert "prompts is missing" in capsys.readouterr().err
