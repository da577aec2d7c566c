"""Annotators see what generations were made from: what repeats it is no copy of a training image."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from memcore.audit import audit
from memcore.errors import DamagedFileError
from memcore.matching.match_run import match_run
from memcore.runs import layout
from memcore.runs.config import Config
from memcore.sampling import CallableSampler, Condition
from tests.support.annotators import Client
from tests.support.browser import serving
from tests.support.given_pictures import picture, upper_half

pytest.importorskip("fastapi", reason="fastapi is not installed: memcore-audit[annotate]")

SIDE = 48


def repeats(prompts: list[str], seeds: list[int], given: list[Condition]) -> NDArray[np.uint8]:
    """Make near-copies of one picture, whatever is given."""
    noise = [np.random.default_rng(seed).integers(-6, 7, (SIDE, SIDE, 3)) for seed in seeds]
    return np.clip(picture(99, SIDE) + np.stack(noise), 0, 255).astype(np.uint8)


def annotated(place: Path, conditions: list[Condition]) -> Path:
    """Return a matched run with a finding for each condition."""
    kinds = conditions[0].kinds()
    sampler = CallableSampler(repeats, (SIDE, SIDE, 3), "repeats-1", conditions=kinds)
    config = Config(source="custom", generations=20)
    prompts = [(f"prompt {i}", condition) for i, condition in enumerate(conditions)]
    audit(place / "run", config, sampler=sampler, prompts=prompts, quiet=True)
    np.savez(place / "train.npz", images=np.stack([picture(n, SIDE) for n in range(94, 100)]))
    match_run(place / "run", place / "train.npz")
    return place / "run"


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    mask = upper_half(SIDE)
    conditions = [Condition(image=picture(n, SIDE), mask=mask) for n in (5, 6)]
    return annotated(tmp_path_factory.mktemp("given"), conditions)


def test_image_and_mask_are_served_by_number(masked: Path) -> None:
    with serving(masked) as server:
        one = Client(server, 1)
        items = json.loads(one.get("/state")[2])["items"]
        assert [len(item["given"]) for item in items] == [2, 2]
        numbers = [n for i in items for n in (*i["generations"], *i["training"], *i["given"])]
        assert numbers == list(range(len(numbers)))
        for item in items:
            which = int(item["prompt"].removeprefix("prompt "))
            image, mask = (np.asarray(Image.open(io.BytesIO(served(one, n)))) for n in item["given"])
            assert (image == picture((5, 6)[which], SIDE)).all()
            assert (mask == upper_half(SIDE)[..., None]).all()


def served(client: Client, number: int) -> bytes:
    status, headers, body = client.get(f"/image/{number}")
    assert (status, headers["content-type"]) == (200, "image/png")
    return body


def test_an_image_without_a_mask_and_a_label_alone(tmp_path: Path) -> None:
    from memcore.annotate.gallery import Gallery

    for name, condition, pictures in (
        ("image", Condition(image=picture(5, SIDE)), 1),
        ("label", Condition(label=3), 0),
    ):
        (tmp_path / name).mkdir()
        (item,) = Gallery(annotated(tmp_path / name, [condition])).items
        assert len(item.given) == pictures


def test_a_given_image_that_was_changed_is_not_shown_and_a_missing_one_is_gone(tmp_path: Path) -> None:
    from memcore.annotate.gallery import Gallery

    run = annotated(tmp_path, [Condition(image=picture(5, SIDE))])
    (kept,) = (run / "conditions").iterdir()
    assert kept.name in layout.condition_name(kept.stem)
    Image.fromarray(picture(6, SIDE)).save(kept)
    gallery = Gallery(run)
    (number,) = gallery.items[0].given
    with pytest.raises(DamagedFileError, match=kept.stem):
        gallery.read(number)
    kept.unlink()
    assert gallery.read(number) is None


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (1920, 1080), (390, 844)])
def test_everything_fits_beside_what_was_given(masked: Path, browser: Any, width: int, height: int) -> None:
    with serving(masked) as server:
        page = browser.new_context(viewport={"width": width, "height": height}).new_page()
        page.goto(server.links[1])
        page.wait_for_url(f"{server.origin}/")
        for _ in range(500):
            if page.evaluate("document.getElementById('stage').dataset.shown === '0'"):
                break
            page.wait_for_timeout(20)
        assert page.locator(".given img").count() == 2
        assert "white was repainted" in page.text_content(".given h2")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        if width > 720:
            assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
        boxes = page.evaluate(
            "[...document.images].map((i) => { const b = i.getBoundingClientRect(); return [b.width, b.height, b.right] })"
        )
        assert len(boxes) >= 20
        for w, h, right in boxes:
            assert abs(w - h) <= 1
            assert w >= (80 if width < 500 else 85)
            assert right <= width
        page.context.close()
