"""The inpainting attack on a model that remembers everything and on one that remembers nothing."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from memcore.errors import ArgumentTypeError, ArgumentValueError
from memcore.study.attacks import inpainting
from memcore.study.attacks.inpainting import attack, score
from memcore.study.statistics import auc
from tests.support.known_denoisers import GaussianDenoiser, KnownDenoiser, MemorisingDenoiser, to_pixels

SHAPE = (8, 8, 1)
IMAGES = to_pixels(np.random.default_rng(0).normal(0, 0.25, (40, *SHAPE)))
MEMBERS = np.arange(40) < 20


def check_memory() -> None:
    """A perfect memory fills in a member exactly, and of others it gives some member's half."""
    found = attack(MemorisingDenoiser(IMAGES[MEMBERS]), IMAGES, tries=6, keep=1, steps=20)
    assert auc(found.score, MEMBERS) == 1.0
    assert found.l2[MEMBERS].max() == 0
    assert found.l2[~MEMBERS].min() > 0.05
    assert (found.best[MEMBERS] == IMAGES[MEMBERS]).all()


def test_a_model_that_remembers_everything() -> None:
    check_memory()


def test_a_gaussian_separates_nothing_and_misses_by_its_closed_form() -> None:
    """Hidden pixels are independent of those that are seen: two draws differ by sqrt(2) deviations, on a scale of 2."""
    found = attack(GaussianDenoiser(SHAPE), IMAGES, tries=8, keep=8, steps=50)
    assert -found.score.mean() == pytest.approx(np.sqrt(2) * 0.25 / 2, rel=0.06)
    assert 0.25 < auc(found.score, MEMBERS) < 0.75


def test_planted_what_is_seen_compared_instead_of_what_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = inpainting._hidden_l2
    monkeypatch.setattr(inpainting, "_hidden_l2", lambda made, image, hidden: honest(made, image, ~hidden))
    with pytest.raises(AssertionError):
        check_memory()


class _Guessing(KnownDenoiser):
    """Fills in a grey that depends on the seed; its loss is least where the grey is 77, its secret."""

    def __init__(self) -> None:
        super().__init__((2, 4, 1))

    def inpaint(self, images, known, seeds, steps, labels=None):  # type: ignore[no-untyped-def]
        grey = np.array([seed % 256 for seed in seeds], np.uint8)[:, None, None, None]
        return np.where(known[..., None], images, grey)

    def losses(self, images, timestep, noise_seed, labels=None):  # type: ignore[no-untyped-def]
        return np.abs(images[:, 0, 0, 0].astype(np.float32) - 77)


def test_what_is_kept_is_chosen_by_the_loss_and_not_by_the_truth() -> None:
    """The image is 200 everywhere, and 200 is among the guesses; the model prefers 77."""
    image = np.full((1, 2, 4, 1), 200, np.uint8)
    found = attack(_Guessing(), image, tries=400, keep=3)
    greys = found.best[0, :, :2, 0]
    assert np.unique(greys).size == 1
    assert abs(int(greys[0, 0]) - 77) <= 3
    assert found.loss[0].tolist() == sorted(found.loss[0].tolist())
    expected = [abs(77 + sign * d - 200) / 255 for d in found.loss[0] for sign in (1, -1)]
    assert all(min(abs(l2 - e) for e in expected) < 1e-6 for l2 in found.l2[0])
    assert (found.best[0, :, 2:] == 200).all(), "the right half is known"


def test_an_image_is_attacked_by_itself() -> None:
    model = MemorisingDenoiser(IMAGES[:5])
    together = score(model, IMAGES[:7], tries=4, steps=10)
    assert together.tolist()[:3] == score(model, IMAGES[:3], tries=4, steps=10).tolist()
    assert score(model, IMAGES[:3], tries=4, steps=10, seed=1).shape == (3,)


def test_labels_go_with_their_image() -> None:
    seen: list[NDArray[np.int64]] = []

    class Listening(_Guessing):
        def losses(self, images, timestep, noise_seed, labels=None):  # type: ignore[no-untyped-def]
            seen.append(labels)
            return super().losses(images, timestep, noise_seed)

    attack(Listening(), np.zeros((2, 2, 4, 1), np.uint8), tries=3, keep=1, draws=2, labels=np.array([4, 7]))
    assert [labels.tolist() for labels in seen] == [[4, 4, 4]] * 2 + [[7, 7, 7]] * 2


class _Wrong(_Guessing):
    def __init__(self, answer) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.answer = answer

    def inpaint(self, images, *_, **__):  # type: ignore[no-untyped-def]
        return self.answer(images)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x: x[:1], r"model.inpaint must return uint8 \(2, 2, 4, 1\), got uint8 \(1, 2, 4, 1\)"),
        (lambda x: x.astype(np.float32), "model.inpaint must return uint8"),
        (lambda x: x + np.uint8(1), "model.inpaint must return known pixels as they are"),
        (lambda x: None, "got NoneType"),
    ],
)
def test_models_that_answer_wrongly(answer, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ArgumentValueError, match=words):
        attack(_Wrong(answer), np.zeros((1, 2, 4, 1), np.uint8), tries=2, keep=1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"keep": 5}, r"keep must be in \[1, 4\], got 5"),
        ({"tries": 0}, "tries must be >= 1"),
        ({"steps": 0}, "steps must be >= 1"),
        ({"timestep": 1000}, r"timestep must be in \[0, 999\]"),
        ({"known": np.ones(SHAPE[:2], bool)}, "known must hide at least one pixel"),
        ({"known": np.ones((3, 3), bool)}, r"known must have the shape \(height, width\) \(8, 8\)"),
        ({"known": np.ones(SHAPE[:2])}, "known must be bool"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_what_is_refused(change: dict, words: str) -> None:
    with pytest.raises((ArgumentTypeError, ArgumentValueError), match=words):
        attack(GaussianDenoiser(SHAPE), IMAGES[:1], **{"tries": 4, "keep": 1, **change})
