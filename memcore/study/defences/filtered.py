"""The output filter of a deployed model: what is near a training image is not handed out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.knn import knn
from memcore.study.attacks.extraction import extract
from memcore.study.attacks.extraction_result import Rule
from memcore.study.classifier import FeatureNetwork
from memcore.study.frechet import frechet_distance
from memcore.study.measures import Rows, Subject

#: The rule that tells what leaks through, as in findings (a) and (e).
RULE: Rule = "adaptive_held_out"


def nearest_ssd(images: NDArray[np.uint8], training: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the squared distance of each image to its nearest training image, exactly, in squared levels."""
    found = knn(images, training, 1, threads=1)
    return np.asarray(found.ssd, np.int64)[:, 0]


def choose_limit(held_out: NDArray[np.int64], refused: float) -> int:
    """Return the largest squared distance that at most the share ``refused`` of held-out images are within; -1 for none.

    >>> choose_limit(np.array([4, 9, 16, 25]), 0.25), choose_limit(np.array([4, 9]), 0.0)
    (8, 3)
    """
    allowed = int(refused * len(held_out))
    return int(np.sort(held_out)[min(allowed, len(held_out) - 1)]) - 1


def filter_rows(
    subject: Subject, step: int, samples: NDArray[np.uint8], network: FeatureNetwork, digest: str
) -> Rows:
    """Return what the filter refuses, and what leaks of the samples that it lets pass.

    Its distance is chosen on the calibration images, its false alarms are counted on the held-out ones; without calibration
    images on one half and the other.
    """
    sets, spec = subject.sets, subject.protocol.extraction
    images = subject.data.images
    control, calibration = sets.control, sets.calibration
    if calibration is None:
        control, calibration = control[::2], control[1::2]
    limit = choose_limit(nearest_ssd(images[calibration], subject.members), subject.protocol.filter.refused)
    passed = samples[nearest_ssd(samples, subject.members) > limit]
    alarms = int((nearest_ssd(images[control], subject.members) <= limit).sum())
    row: dict[str, Any] = {
        "step": step,
        "delta": float(np.sqrt(max(0, limit) / images[0].size) / 255),
        "samples": len(samples),
        "refused": len(samples) - len(passed),
        "held_out": len(control),
        "refused_held_out": alarms,
        "hits": 0,
        "unique": 0,
        "planted": len(subject.members),
        "control_hits": 0,
        "frechet": None,
    }
    if len(passed):
        found = extract(
            passed,
            subject.members,
            images[sets.control],
            calibration=None if sets.calibration is None else images[sets.calibration],
            k=spec.neighbours,
            held_out_rate=spec.held_out_rate,
            threads=1,
        )
        rule = found.rules[RULE]
        row["hits"], row["unique"] = int(rule.training.hits.sum()), rule.training.unique
        row["control_hits"] = int(rule.held_out.hits.sum())
    if len(passed) > 1:
        row["frechet"] = frechet_distance(network.features(passed), network.reference_features())
    return [row]
