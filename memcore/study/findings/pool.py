"""Models on random halves of one pool of images, and the scores of membership attacks on them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from memcore.errors import RunError
from memcore.study.attacks.membership import lira, threshold
from memcore.study.findings.reading import Study, families
from memcore.study.protocols.protocol import ModelSpec
from memcore.study.rows import rows_name

#: The finding that they are for.
LETTER = "g"
ATTACKS = ("loss threshold", "LiRA", "strong LiRA")
#: The plain attacks see one timestep, the stored one nearest to this share of the noise schedule, and so many draws of it,
#: not mirrored. The strong one sees all that is stored, mirrored images too where the models were trained with flips: others
#: never saw those, and their losses would only dilute what tells a member.
PLAIN_TIMESTEP, PLAIN_DRAWS = 0.05, 4
#: Models of a pool that LiRA needs: two with and two without each image, beside the attacked one and its complement.
LEAST_MODELS = 6


@dataclasses.dataclass(frozen=True, eq=False)
class Pool:
    """Models on random halves of one pool: ``losses`` (models, images, draws), ``members`` (models, images).

    ``models`` are their ids, ``images`` the images' indices in the data set. ``timesteps``, ``draw`` and ``flipped`` say of
    each of the draws what it is.
    """

    models: Sequence[str]
    images: Sequence[int]
    losses: NDArray[np.float32]
    members: NDArray[np.bool_]
    timesteps: NDArray[np.int64]
    draw: NDArray[np.int64]
    flipped: NDArray[np.bool_]
    schedule: int
    trained_with_flips: bool

    @property
    def plain(self) -> NDArray[np.bool_]:
        """Return which draws the plain attacks see."""
        times = np.unique(self.timesteps)
        nearest = times[np.abs(times - PLAIN_TIMESTEP * self.schedule).argmin()]
        chosen: NDArray[np.bool_] = (self.timesteps == nearest) & ~self.flipped & (self.draw < PLAIN_DRAWS)
        return chosen

    @property
    def strong(self) -> NDArray[np.bool_]:
        """Return which draws the strong attack sees."""
        return ~self.flipped | self.trained_with_flips


def find_pool_models(study: Study) -> list[ModelSpec]:
    """Return the models of all seeds that are attacked: those of the setting with most halves of one pool."""
    specs = [s for s in study.models(LETTER) if s.factors.half >= 0 and "membership" in s.attacks]
    pools = families(specs, "half", least=LEAST_MODELS)
    return max(pools, key=lambda pool: len(pool.levels)).models if pools else []


def read_pool(study: Study, specs: Sequence[ModelSpec]) -> Pool:
    """Return the losses of one pool's models on its images, those that at least one of the models was trained on."""
    specs = sorted(specs, key=lambda spec: spec.factors.half)
    axes = study.loss_axes(specs[0])
    found = [{row["image"]: row for row in study.losses(spec)} for spec in specs]
    images = sorted({image for rows in found for image, row in rows.items() if row["member"]})
    try:
        losses = np.array([[rows[image]["losses"] for image in images] for rows in found], np.float32)
        members = np.array([[rows[image]["member"] for image in images] for rows in found], bool)
        times, draws, flips = axes["timesteps"], int(axes["draws"]), int(axes["flips"])
        usable = bool(images) and losses.ndim == 3 and losses.shape[2] == len(times) * draws * flips > 0
        sizes = (times, range(draws), range(flips)) if usable else ((), (), ())
        grid = np.array(list(itertools.product(*sizes)), np.int64).reshape(-1, 3)
    except (KeyError, TypeError, ValueError):
        usable = False
    if not usable or any(study.loss_axes(spec) != axes for spec in specs):
        raise RunError(
            f"{study.storage.place}/{rows_name(specs[0].id, 'losses')} and those of the other models of seed "
            f"{specs[0].seed} do not "
            "hold the losses of the same images at the same draws: remove them and their manifests, and run the study again"
        )
    factors = specs[0].factors
    return Pool(
        models=[spec.id for spec in specs],
        images=images,
        losses=losses,
        members=members,
        timesteps=grid[:, 0],
        draw=grid[:, 1],
        flipped=grid[:, 2] > 0,
        schedule=factors.timesteps,
        trained_with_flips=factors.flips,
    )


def attack_scores(pool: Pool) -> list[NDArray[np.float64]]:
    """Return each attack's scores, (models, images): a few draws of one timestep for the first two, all for the last."""
    plain = pool.losses[..., pool.plain]
    return [
        threshold(plain),
        lira(plain, pool.members),
        lira(pool.losses[..., pool.strong], pool.members, timesteps=pool.timesteps[pool.strong]),
    ]
