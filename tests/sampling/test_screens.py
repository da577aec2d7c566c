"""Screens: their scores on every kind of pipeline, what they do to a run, and how well they tell on the bundled model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memcore.audit import audit
from memcore.errors import ConfigError, SamplerError
from memcore.evaluation.roc import roc
from memcore.runs.config import Config
from memcore.runs.config_file import from_mapping
from memcore.runs.folder import RunFolder
from memcore.runs.schema import FINDINGS
from memcore.runs.summary import summary
from memcore.sampling import DiffusersSampler, FirstStep, FirstStepSampler, derive_seed
from memcore.sampling.screen import SCREENS
from memcore.study.dataset import load_demo
from memcore.types import Request
from tests.support import tiny_pipelines
from tests.support.run_files import findings_bytes
from tests.support.samplers import Screenable
from tests.support.synthetic import MEMORISED, PROMPTS, SyntheticSampler

REQUESTS = [Request(0, "a dog", 11), Request(1, "red cat", 12), Request(0, "a dog", 13)]
GUIDED = [
    "stable diffusion 1",
    "stable diffusion 2",
    "stable diffusion xl",
    "stable diffusion 3",
    "pixart",
    "deepfloyd if",
]


def sampler_of(name: str, **changes: Any) -> DiffusersSampler:
    options = {
        "steps": 3,
        "guidance_scale": 1.0,
        "batch_size": 4,
        **tiny_pipelines.PIPELINES[name][1],
        **changes,
    }
    return DiffusersSampler(tiny_pipelines.make(name), **options)


@pytest.mark.parametrize("name", GUIDED)
def test_scores_depend_on_the_request_alone_and_leave_the_pipeline_as_it_was(name: str) -> None:
    sampler = sampler_of(name)
    pipe: Any = sampler._pipe
    denoiser = getattr(pipe, "unet", None) or pipe.transformer
    calls: list[int] = []
    hook = denoiser.register_forward_hook(lambda module, inputs, output: calls.append(len(output[0])))
    before = sampler.sample(REQUESTS[:1]).pixels
    calls.clear()
    seen = sampler.first_step(REQUESTS, guidance_scale=5.0)
    assert calls == [2 * sampler.cpu_batch]  # both halves of the guidance at once, and no second step
    hook.remove()
    assert isinstance(sampler, FirstStepSampler)
    assert not denoiser._forward_hooks
    assert "step" not in vars(pipe.scheduler)
    for scores in (seen.noise_magnitude, seen.one_step):
        assert scores.shape == (3,)
        assert scores.dtype == np.float64
        assert (scores > 0).all()
        assert len(set(scores.tolist())) == 3
    alone = sampler.first_step(REQUESTS[1:2], guidance_scale=5.0)
    assert alone.noise_magnitude[0] == seen.noise_magnitude[1]
    assert alone.one_step[0] == seen.one_step[1]
    assert (sampler.sample(REQUESTS[:1]).pixels == before).all()


def test_scores_are_those_of_the_formula() -> None:
    """Against the pipeline's own parts, called by hand."""
    import torch

    sampler = sampler_of("stable diffusion 1")
    pipe: Any = sampler._pipe
    seen = sampler.first_step(REQUESTS[:1], guidance_scale=5.0)
    with torch.inference_mode():
        with_text, without = pipe.encode_prompt("a dog", "cpu", 1, True)
        pipe.scheduler.set_timesteps(3)
        t = pipe.scheduler.timesteps[0]
        noise = torch.randn((1, 4, 16, 16), generator=torch.Generator().manual_seed(11))
        cond = pipe.unet(noise, t, encoder_hidden_states=with_text).sample
        free = pipe.unet(noise, t, encoder_hidden_states=without).sample
        after = pipe.scheduler.step(free + 5.0 * (cond - free), t, noise).prev_sample
    assert seen.noise_magnitude[0] == pytest.approx(float((cond - free).norm()), rel=1e-4)
    assert seen.one_step[0] == pytest.approx(float((after - noise).square().mean()), rel=1e-4)


@pytest.mark.parametrize("name", ["flux", "ddpm", "unclip"])
def test_pipelines_without_guidance_say_so(name: str) -> None:
    with pytest.raises(SamplerError, match="cannot be screened"):
        sampler_of(name).first_step(REQUESTS, guidance_scale=5.0)


def test_flux_with_a_negative_prompt_has_guidance() -> None:
    options = {"max_sequence_length": 16, "true_cfg_scale": 4.0}
    seen = sampler_of("flux", negative_prompt="", call_options=options).first_step(
        REQUESTS, guidance_scale=5.0
    )
    assert (seen.noise_magnitude > 0).all()


def test_guidance_that_is_off_is_an_error() -> None:
    with pytest.raises(SamplerError, match="the guidance scale turns it off"):
        sampler_of("stable diffusion 1").first_step(REQUESTS, guidance_scale=1.0)


def run(path: Path, sampler: SyntheticSampler | None = None, **changes: Any) -> RunFolder:
    options: dict[str, Any] = {
        "source": "custom",
        "generations": 40,
        "batch_size": 16,
        "screen": "noise_magnitude",
    }
    config = Config(**{**options, **changes})
    return audit(path, config, sampler=sampler or Screenable(), prompts=PROMPTS, quiet=True)


def test_scores_are_recorded_and_nothing_is_left_out_without_a_threshold(tmp_path: Path) -> None:
    sampler = Screenable()
    rows = run(tmp_path / "run", sampler).findings()
    assert sampler.screened == [p for p in PROMPTS for _ in range(4)]
    assert [r["noise_magnitude"] for r in rows] == [3.5 if p in MEMORISED else 1.5 for p in PROMPTS]
    assert [r["one_step"] for r in rows] == [30 if p in MEMORISED else 10 for p in PROMPTS]
    plain = run(tmp_path / "plain", screen="none").findings()
    assert all(r["noise_magnitude"] is None for r in plain)
    scores = ("noise_magnitude", "one_step")
    without = [{k: v for k, v in r.items() if k not in scores} for r in rows]
    assert without == [{k: v for k, v in r.items() if k not in scores} for r in plain]


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_prompts_below_the_threshold_are_screened_out_and_say_so(tmp_path: Path, batch_size: int) -> None:
    folder = run(tmp_path / "run", screen_threshold=2.0)
    for row in folder.findings():
        if row["prompt"] in MEMORISED:
            assert (row["status"], row["generated"]) == ("finding", 40)
        else:
            assert (row["status"], row["stop"], row["generated"]) == ("screened", "screened", 0)
            assert row["noise_magnitude"] == 1.5
    result = summary(folder)
    assert (result["screened"], result["candidates"], result["failed"]) == (5, 2, 0)
    assert folder.meta["screen"] == {
        "score": "noise_magnitude",
        "threshold": 2.0,
        "seeds": 4,
        "guidance": 7.5,
    }
    other = run(tmp_path / "other", screen_threshold=2.0, batch_size=batch_size)
    assert findings_bytes(other) == findings_bytes(folder)


def test_a_prompt_whose_screen_fails_is_sampled(tmp_path: Path) -> None:
    rows = run(tmp_path / "run", Screenable("rain"), screen_threshold=2.0).findings()
    rain = rows[PROMPTS.index("rain")]
    assert (rain["status"], rain["generated"], rain["noise_magnitude"]) == ("none", 40, None)
    assert sum(r["status"] == "screened" for r in rows) == 4


def test_every_screen_has_a_column_a_choice_and_a_field() -> None:
    names = [screen.name for screen in SCREENS]
    assert names[:2] == ["noise_magnitude", "one_step"], "the columns of format 2, in their order"
    assert set(names) == {field.name for field in dataclasses.fields(FirstStep)}
    first = FINDINGS.get_field_index(names[0])
    assert FINDINGS.names[first : first + len(names)] == names
    assert Config(source="custom", screen=names[-1]).screen == names[-1]
    assert all(screen.meaning for screen in SCREENS)


def test_a_prompt_whose_score_is_no_number_is_sampled(tmp_path: Path) -> None:
    class Broken(Screenable):
        def first_step(self, requests: Sequence[Request], *, guidance_scale: float) -> FirstStep:
            seen = super().first_step(requests, guidance_scale=guidance_scale)
            return dataclasses.replace(seen, noise_magnitude=seen.noise_magnitude * np.nan)

    rows = run(tmp_path / "run", Broken(), screen_threshold=2.0).findings()
    assert [row["generated"] for row in rows] == [40] * len(PROMPTS)


def test_screen_of_a_sampler_that_has_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a sampler with a method first_step"):
        run(tmp_path / "run", SyntheticSampler())


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"screen": "sharp"}, "screen must be one of none, noise_magnitude, one_step, got 'sharp'"),
        ({"screen_threshold": 1.0}, "screen_threshold is set, but screen is 'none'"),
        (
            {"screen": "one_step", "screen_threshold": float("nan")},
            "screen_threshold must be a finite number, got nan",
        ),
        ({"screen": "one_step", "screen_seeds": 0}, "screen_seeds must be at least 1, got 0"),
        ({"source": "stored", "images": "x", "screen": "one_step"}, "stored images exist already"),
    ],
)
def test_wrong_configuration(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_mapping({"source": "custom", **values})
    assert text in str(caught.value)


def test_roc_with_ties_and_empty_sides() -> None:
    even = roc([1.0, 1.0, 1.0, 1.0], [True, False, True, False])
    assert even["area"] == 0.5
    assert len(even["points"]) == 2
    perfect = roc([3.0, 2.0, 1.0, 0.0], [True, True, False, False])
    assert (perfect["area"], perfect["keep_all"], perfect["spared"], perfect["tpr_at_1_percent"]) == (
        1,
        2,
        1,
        1,
    )
    assert roc([1.0], [True])["area"] is None


def test_both_scores_tell_on_the_bundled_model() -> None:
    folder = load_demo().folder
    truth = json.loads((folder / "truth.json").read_text("utf-8"))["prompts"]
    chosen = [e for e in truth if e["expected"] is not None]
    sampler = DiffusersSampler.load(str(folder / "model"), steps=10, guidance_scale=1.0, batch_size=16)
    requests = [Request(i, e["prompt"], derive_seed(0, i, k)) for i, e in enumerate(chosen) for k in range(2)]
    seen = sampler.first_step(requests, guidance_scale=7.5)
    for name in ("noise_magnitude", "one_step"):
        scores = getattr(seen, name).reshape(-1, 2).mean(1)
        area = roc(scores.tolist(), [bool(e["expected"]) for e in chosen])["area"]
        assert area > 0.9, name
