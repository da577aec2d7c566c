"""Labels, given images and masks: what a pipeline takes of them decides its images, and nothing else does."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from memcore.errors import ArgumentTypeError, ArgumentValueError, SamplerError
from memcore.sampling import CallableSampler, Condition, Fixed, Request, interleave
from tests.support.given_pictures import picture, upper_half
from tests.support.tiny_conditioned import CONDITIONED, SIZE, make
from tests.support.tiny_pipelines import stable_diffusion

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from memcore.sampling import DiffusersSampler  # noqa: E402

IMPOSSIBLE = (ArgumentTypeError, ArgumentValueError)


def sampler(name: str, **changed: Any) -> DiffusersSampler:
    options: dict[str, Any] = {"steps": 2, "batch_size": 3, "cpu_batch": 3, **CONDITIONED[name][1], **changed}
    return DiffusersSampler(make(name), **options)


@pytest.mark.parametrize("name", CONDITIONED)
def test_an_image_depends_on_its_condition_and_its_seed_alone(name: str) -> None:
    made = sampler(name)
    conditions = CONDITIONED[name][2]()
    assert made.conditions == made.needed_conditions == conditions[0].kinds()
    requests = [Request(i, "a dog", 7, condition) for i, condition in enumerate(conditions)]
    together = made.sample(requests).pixels
    assert tuple(together.shape[1:]) == made.image_shape == (*[CONDITIONED[name][1].get("height", 16)] * 2, 3)
    alone = torch.cat([made.sample([request]).pixels for request in requests])
    assert (together == alone).all()
    assert not (together[0] == together[1]).all()
    same = made.sample([Request(5, "a dog", 7, conditions[0]), Request(6, "a dog", 8, conditions[0])]).pixels
    assert (same[0] == together[0]).all()
    assert not (same[1] == together[0]).all()


def test_a_batch_that_lacks_a_needed_image_is_refused() -> None:
    made = sampler("stable diffusion image to image")
    with pytest.raises(SamplerError, match="needs the image that prompt 4 is made from"):
        made.sample([Request(4, "a dog", 1)])


def test_a_condition_that_would_be_ignored_is_refused() -> None:
    made = DiffusersSampler(
        stable_diffusion(), steps=2, guidance_scale=2.0, batch_size=1, cpu_batch=1, **SIZE
    )
    assert made.conditions == ()
    with pytest.raises(SamplerError, match="takes no label"):
        made.sample([Request(0, "a dog", 1, Condition(label=3))])


@pytest.mark.parametrize(("name", "last"), [("dit", 999), ("class-conditional unet", 9)])
def test_a_prompt_may_be_a_label(name: str, last: int) -> None:
    made = sampler(name)
    by_text = made.sample([Request(0, "3", 1), Request(1, "label 3", 1)]).pixels
    by_label = made.sample([Request(0, "", 1, Condition(label=3))]).pixels
    assert (by_text == by_label).all()
    with pytest.raises(SamplerError, match=re.escape(f"has classes 0 to {last}, got label {last + 1}")):
        made.sample([Request(0, str(last + 1), 1)])
    with pytest.raises(SamplerError, match="'a whale' names none"):
        made.sample([Request(0, "a whale", 1)])


def test_a_label_may_be_named_as_the_model_names_it() -> None:
    made = sampler("dit")
    assert (made.sample([Request(0, "dog", 1)]).pixels == made.sample([Request(0, "1", 1)]).pixels).all()


def test_the_hook_that_hands_labels_to_a_unet_is_gone_afterwards() -> None:
    made = sampler("class-conditional unet")
    before = made.fingerprint
    made.sample([Request(0, "3", 1)])
    assert not made._pipe.unet._forward_pre_hooks
    assert sampler("class-conditional unet").fingerprint == before


@pytest.mark.parametrize("strength", [None, 0.0, 1.5, 0.2])
def test_a_strength_that_changes_images_by_chance_or_not_at_all_is_refused(strength: float | None) -> None:
    with pytest.raises(IMPOSSIBLE, match="strength"):
        sampler("stable diffusion image to image", strength=strength)


def test_strength_is_in_the_fingerprint_and_decides_whether_masks_hide() -> None:
    whole, part = (sampler("stable diffusion inpainting", strength=s) for s in (1.0, 0.6))
    assert whole.fingerprint != part.fingerprint
    assert (whole.masks_hide, part.masks_hide) == (True, False)


def test_the_size_of_given_images_must_be_said() -> None:
    with pytest.raises(IMPOSSIBLE, match="height and width are missing"):
        sampler("stable diffusion image to image", height=None, width=None)


def test_an_image_for_all_prompts_is_no_option_of_the_call() -> None:
    with pytest.raises(IMPOSSIBLE, match="call_options holds 'image', which each prompt has for itself"):
        sampler("stable diffusion image to image", call_options={"image": picture(0)})


def test_a_function_gets_the_conditions_that_it_declares() -> None:
    def function(prompts: list[str], seeds: list[int], given: list[Condition]) -> Any:
        return np.stack(
            [np.full((4, 4, 3), c.label, np.uint8) + np.eye(4, dtype=np.uint8)[..., None] for c in given]
        )

    made = CallableSampler(function, (4, 4, 3), "labels-1", conditions=["label"])
    pixels = made.sample([Request(0, "", 1, Condition(label=9))]).pixels
    assert pixels.min() == 9


def test_batches_carry_the_condition_of_their_prompt() -> None:
    conditions = {0: Condition(label=4), 1: None}
    batches = interleave([(0, "a"), (1, "b")], Fixed(2), 3, run_seed=0, conditions=conditions.get)
    found = [(r.prompt_id, r.condition and r.condition.label) for batch in batches for r in batch]
    assert found == [(0, 4), (0, 4), (1, None), (1, None)]


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"label": -1}, "label"),
        ({"label": 1.5}, "label"),
        ({"image": picture(0).astype(float)}, "image"),
        ({"image": picture(0)[..., 0]}, "image"),
        ({"mask": upper_half()}, "mask"),
        ({"image": picture(0), "mask": upper_half(8)}, "mask"),
        ({"image": picture(0), "mask": np.zeros((16, 16), np.uint8)}, "mask"),
        ({"image": picture(0), "mask": np.full((16, 16), 7, np.uint8)}, "mask"),
    ],
)
def test_an_impossible_condition_is_refused_by_its_name(values: dict[str, Any], named: str) -> None:
    with pytest.raises(IMPOSSIBLE, match=f"^{named} must"):
        Condition(**values)


def test_conditions_are_equal_by_content() -> None:
    first, second = (Condition(3, picture(1), upper_half()) for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)
    assert first != Condition(3, picture(2), upper_half())
