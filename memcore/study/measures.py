"""The rows that a model leaves: each attack of the protocol, asked of it and written down."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.runs.pictures import png_bytes
from memcore.study.attacks.extraction import Extraction, extract
from memcore.study.attacks.inpainting import score as inpainting_score
from memcore.study.attacks.losses import measure_losses
from memcore.study.classifier import FeatureNetwork
from memcore.study.data.images import ImageSet
from memcore.study.data.sets import Sets, draw_canaries, shift
from memcore.study.frechet import frechet_distance
from memcore.study.models.denoiser import Denoiser
from memcore.study.models.unet import UNetDenoiser
from memcore.study.protocols.protocol import LATER, ModelSpec, Protocol
from memcore.study.rows import Name

Rows = list[dict[str, Any]]
#: Factors that a model's own row does not have: ``generator_rows`` tells them.
GENERATOR = ("model", "generator", "augment")


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A model's images and labels, and the protocol that says what is asked of it."""

    protocol: Protocol
    spec: ModelSpec
    data: ImageSet
    sets: Sets

    @property
    def members(self) -> NDArray[np.uint8]:
        """Return the unique training images."""
        return self.data.images[self.sets.members]

    def label_members(self) -> NDArray[np.int64] | None:
        """Return the members' labels as the model learns them; None without labels."""
        kind = self.spec.factors.labels
        if kind == "none":
            return None
        return np.arange(len(self.sets.members)) if kind == "unique" else self.data.labels[self.sets.members]

    def label_samples(self, start: int, stop: int) -> NDArray[np.int64] | None:
        """Return the labels of samples: those of the members in turn."""
        labels = self.label_members()
        return None if labels is None else labels[np.arange(start, stop) % len(labels)]

    def label_others(self, indices: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Return the labels of images of the data set, by their index."""
        return None if self.spec.factors.labels == "none" else self.data.labels[np.abs(indices)]


def member_rows(subject: Subject) -> Rows:
    """Return which images were trained on and which were held out."""
    sets, labels = subject.sets, subject.data.labels
    groups = (
        ("member", sets.members, sets.copies),
        ("held-out", sets.control, np.zeros(len(sets.control), int)),
    )
    rows = [
        {"image": int(image), "role": role, "copies": int(times), "label": int(labels[image])}
        for role, images, copies in groups
        for image, times in zip(images, copies, strict=True)
    ]
    return rows + [
        {"image": i, "role": "canary", "copies": sets.canary_copies, "label": -1}
        for i in range(len(sets.canaries))
    ]


def extraction_tables(subject: Subject, step: int, samples: NDArray[np.uint8]) -> dict[Name, Rows]:
    """Return what the samples of a checkpoint reproduce: every rule, on the training set and on the held-out one."""
    sets, spec = subject.sets, subject.protocol.extraction
    found = extract(
        samples,
        subject.members,
        subject.data.images[sets.control],
        calibration=None if sets.calibration is None else subject.data.images[sets.calibration],
        k=spec.neighbours,
        held_out_rate=spec.held_out_rate,
        threads=1,
    )
    return {
        "extraction": [row for rule in found.rules for row in _rule_rows(found, rule, sets, step)],
        "coverage": [
            {"step": step, "rule": rule, "samples": int(drawn), "unique": int(unique)}
            for rule, result in found.rules.items()
            for drawn, unique in zip(*result.training.coverage(), strict=True)
        ],
        "hits": _hit_rows(found, sets, step, spec.keep),
        "pictures": _picture_rows(subject, found, step, samples),
    }


def _rule_rows(found: Extraction, rule: Any, sets: Sets, step: int) -> Rows:
    result = found.rules[rule]
    levels = _levels(found, sets)
    about = {"step": step, "rule": rule, "threshold": result.threshold, "samples": found.samples}
    hits, nearest = result.training.hits, found.near.image
    rows: Rows = []
    for level in (0, *sorted({int(c) for c in levels[found.merged.rows]})):
        mine = np.ones(len(levels), bool) if level == 0 else levels == level
        rows.append(
            {
                **about,
                "of": "train",
                "copies": level,
                "hits": int((hits & mine[nearest]).sum()),
                "unique": int(mine[result.training.images].sum()),
                "planted": int(mine[found.merged.rows].sum()),
                "merged": found.merged.merged,
            }
        )
    control = result.held_out
    rows.append(
        {
            **about,
            "of": "held-out",
            "copies": 0,
            "hits": int(control.hits.sum()),
            "unique": control.unique,
            "planted": found.compared[1],
            "merged": found.merged_held_out.merged,
        }
    )
    return rows


def _levels(found: Extraction, sets: Sets) -> NDArray[np.int64]:
    """Return each member's level of duplication; of images that were merged, the highest of the group."""
    highest = np.zeros(len(found.merged.rows), np.int64)
    np.maximum.at(highest, found.merged.group, sets.copies)
    return highest[found.merged.group]


def _hit_rows(found: Extraction, sets: Sets, step: int, keep: int) -> Rows:
    near = found.near
    nearest = np.argsort(near.ratio, kind="stable")[:keep]
    return [
        {
            "step": step,
            "seed": int(i),
            "image": int(sets.members[near.image[i]]),
            "distance": float(near.l2[i]),
            "ratio": float(near.ratio[i]),
            "adaptive": float(near.adaptive[i]),
            "copies": int(sets.copies[near.image[i]]),
        }
        for i in nearest
    ]


def _picture_rows(subject: Subject, found: Extraction, step: int, samples: NDArray[np.uint8]) -> Rows:
    """Return the strongest and the median hit by d1 / d2 < 1/3; without one, by the paper's rule; else none."""
    ratio = found.near.ratio
    hits = np.flatnonzero(found.rules["ratio"].training.hits)
    if not len(hits):
        hits = np.flatnonzero(found.rules["adaptive"].training.hits)
    ordered = hits[np.argsort(ratio[hits], kind="stable")]
    kinds = {"strongest": 0, "median": len(ordered) // 2} if len(ordered) else {}
    rows: Rows = []
    for kind, place in kinds.items():
        sample = int(ordered[place])
        member = int(found.near.image[sample])
        rows.append(
            {
                "step": step,
                "kind": kind,
                "seed": sample,
                "image": int(subject.sets.members[member]),
                "copies": int(subject.sets.copies[member]),
                "ratio": float(ratio[sample]),
                "sample": png_bytes(samples[sample]),
                "training": png_bytes(subject.members[member]),
            }
        )
    return rows


def quality_rows(
    subject: Subject, step: int, samples: NDArray[np.uint8], network: FeatureNetwork, digest: str
) -> Rows:
    """Return the Frechet distances of the first samples to images that no model saw, and to the training set."""
    made = network.features(samples[: subject.protocol.quality.samples])
    sets = (("held-out", network.reference_features()), ("train", network.features(subject.members)))
    return [
        {
            "step": step,
            "of": of,
            "frechet": frechet_distance(made, features),
            "samples": len(made),
            "reference": len(features),
            "features_sha256": digest,
        }
        for of, features in sets
    ]


def sample_rows(subject: Subject, step: int, samples: NDArray[np.uint8]) -> Rows:
    """Return the first samples as they are."""
    height, width, channels = samples.shape[1:]
    return [
        {
            "step": step,
            "seed": i,
            "height": height,
            "width": width,
            "channels": channels,
            "pixels": np.ascontiguousarray(image).tobytes(),
        }
        for i, image in enumerate(samples[: subject.protocol.extraction.keep])
    ]


def loss_rows(subject: Subject, model: UNetDenoiser) -> tuple[Rows, dict[str, Any]]:
    """Return the losses of members, held-out and shifted images, and what their entries are.

    Of a model on a random half, the images are those of the pool in the data set's order, whichever half it is: so all
    models of a pool see the same noise on the same image.
    """
    spec, sets = subject.protocol.membership, subject.sets
    indices = np.sort(np.concatenate([sets.members, sets.held_out]))
    members = np.isin(indices, sets.members)
    images = subject.data.images[indices]
    roles = np.where(members, "member", "held-out")
    if subject.spec.factors.half <= 0:  # the trap is shown once a pool
        images = np.concatenate([images, shift(subject.data.images[sets.held_out])])
        indices = np.concatenate([indices, -1 - sets.held_out])
        members = np.concatenate([members, np.zeros(len(sets.held_out), bool)])
        roles = np.concatenate([roles, np.full(len(sets.held_out), "shifted")])
    labels = subject.label_others(np.where(indices < 0, -1 - indices, indices))
    found = measure_losses(
        model,
        images,
        timesteps=spec.timesteps,
        draws=spec.draws,
        flips=spec.flips,
        seed=spec.seed,
        labels=labels,
    )
    axes = {"timesteps": list(spec.timesteps), "draws": spec.draws, "flips": 2 if spec.flips else 1}
    rows = [
        {"image": int(image), "member": bool(member), "role": str(role), "losses": values.tolist()}
        for image, member, role, values in zip(indices, members, roles, found.values, strict=True)
    ]
    return rows, axes


def canary_rows(subject: Subject, step: int, model: Denoiser) -> Rows:
    """Return where each canary's loss is among the candidates': exposure is log2(candidates) - log2(rank)."""
    spec, sets = subject.protocol.canaries, subject.sets
    candidates = max(spec.candidates, len(sets.canaries) + 1)
    images = draw_canaries(subject.data.shape, candidates)
    labels = None if subject.spec.factors.labels == "none" else np.zeros(candidates, np.int64)
    found = measure_losses(
        model,
        images,
        timesteps=[spec.timestep],
        draws=spec.draws,
        seed=subject.protocol.membership.seed,
        labels=labels,
    )
    losses = found.values.mean(axis=1, dtype=np.float64)
    strangers = np.sort(losses[len(sets.canaries) :])
    rows: Rows = []
    for i in range(len(sets.canaries)):
        rank = 1 + int(np.searchsorted(strangers, losses[i], side="left"))
        among = len(strangers) + 1
        rows.append(
            {
                "step": step,
                "canary": i,
                "copies": sets.canary_copies,
                "rank": rank,
                "candidates": among,
                "exposure": math.log2(among) - math.log2(rank),
            }
        )
    return rows


def inpainting_rows(subject: Subject, model: Denoiser) -> Rows:
    """Return the scores of the inpainting attack: members, and as many held-out images."""
    spec, sets = subject.protocol.inpainting, subject.sets
    count = min(spec.images, len(sets.members), len(sets.held_out))
    rows: Rows = []
    for member, indices in ((True, sets.members[:count]), (False, sets.held_out[:count])):
        scores = inpainting_score(
            model,
            subject.data.images[indices],
            tries=spec.tries,
            steps=spec.steps,
            seed=spec.seed,
            labels=subject.label_others(indices),
        )
        rows += [
            {"image": int(image), "member": member, "score": float(value)}
            for image, value in zip(indices, scores, strict=True)
        ]
    return rows


def model_row(
    subject: Subject, *, parameters: int, loss: float, data_digest: str, members_digest: str, weights: str
) -> Mapping[str, Any]:
    """Return the row of a model: every factor, and the digests that it can be checked by."""
    spec, sets = subject.spec, subject.sets
    factors = dataclasses.asdict(spec.factors)
    kept = {
        name: factors[name]
        for name in factors
        if name not in ("copies", "folder", "canary_copies", "warmup", "labels", "data", *LATER)
    }
    return {
        **kept,
        "model": spec.id,
        "groups": list(spec.groups),
        "seed": spec.seed,
        "data": spec.factors.data,
        "labels": spec.factors.labels,
        "folder": spec.factors.folder.replace("\\", "/").rstrip("/").rpartition("/")[2],
        "copies": [{"images": images, "copies": times} for images, times in spec.factors.copies],
        "members": len(sets.members),
        "rows": len(sets.rows()),
        "parameters": parameters,
        "loss": loss,
        "data_digest": data_digest,
        "members_digest": members_digest,
        "weights_sha256": weights,
    }


def generator_rows(subject: Subject) -> Rows:
    """Return the row of a model that is no diffusion model; of a diffusion model none."""
    factors = subject.spec.factors
    if factors.model == "diffusion" and not factors.generator:
        return []
    name = factors.generator.replace("\\", "/").rpartition("/")[2]
    kind = "loaded" if name else factors.model
    return [{"model": subject.spec.id, "kind": kind, "name": name, "augment": factors.augment}]


def training_rows(history: Sequence[tuple[int, float, str]]) -> Rows:
    """Return a row a checkpoint: (step, smoothed loss, digest of the weights)."""
    return [{"step": step, "loss": loss, "weights_sha256": digest} for step, loss, digest in history]
