"""What a study would take, from a few steps of each kind of model that it has."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

import numpy as np
import torch

from memcore.study.data.sets import draw_sets
from memcore.study.models.generator import Generator
from memcore.study.models.loaded import load_generator
from memcore.study.models.unet import BATCH
from memcore.study.prepared import PreparedData, prepare_data
from memcore.study.protocols.expand import expand
from memcore.study.protocols.protocol import ModelSpec, Protocol
from memcore.study.training.make import Training, new_training
from memcore.study.units import Units, count_units, passes_of_sampling

#: Steps before the clock starts, and the least that are timed.
_WARMING, _LEAST = 2, 3
_DDIM_STEPS = 2


class Kind(TypedDict):
    """Models of one architecture and data set: how many, and the seconds of a step and of a pass without gradients."""

    models: int
    shape: list[int]
    model: str
    width: int
    depth: int
    batch: int
    parameters: int
    step_seconds: float
    pass_seconds: float
    hours: float


class StudyPlan(TypedDict):
    """What a study would take. ``worker_hours`` is the work of one worker, ``hours`` that of all of them at once."""

    protocol: str
    models: int
    training_steps: int
    samples: int
    load_seconds: float
    workers: int
    worker_hours: float
    hours: float
    groups: dict[str, int]
    kinds: list[Kind]


def plan_study(protocol: Protocol, *, workers: int, seconds: float = 2.0) -> StudyPlan:
    """Measure each kind of model for about ``seconds`` on one thread, and extrapolate to the whole protocol.

    Raises ConfigError if the data are missing or cannot be used.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        started = time.monotonic()
        prepared = prepare_data(protocol)
        loading = time.monotonic() - started
        specs = expand(protocol)
        kinds = [_measure(protocol, alike, prepared, seconds) for alike in _group(specs, prepared).values()]
    finally:
        torch.set_num_threads(threads)
    units = [count_units(protocol, spec) for spec in specs]
    work = sum(kind["hours"] for kind in kinds)
    return {
        "protocol": protocol.name,
        "models": len(specs),
        "training_steps": sum(spec.factors.steps for spec in specs),
        "samples": BATCH * sum(_sampled(protocol, spec, u) for spec, u in zip(specs, units, strict=True)),
        "load_seconds": loading,
        "workers": workers,
        "worker_hours": work + workers * loading / 3600,
        "hours": work / workers + loading / 3600,
        "groups": {group.name: sum(group.name in spec.groups for spec in specs) for group in protocol.groups},
        "kinds": kinds,
    }


def _sampled(protocol: Protocol, spec: ModelSpec, units: Units) -> int:
    side = protocol.data[spec.factors.data].side
    passes = passes_of_sampling(spec.factors, protocol.extraction.steps, side)
    return units.sampling * len(spec.checkpoints) // passes


def _group(
    specs: Sequence[ModelSpec], prepared: Mapping[str, PreparedData]
) -> dict[tuple[object, ...], list[ModelSpec]]:
    """Return the models by what the time of a step depends on."""
    found: dict[tuple[object, ...], list[ModelSpec]] = {}
    for spec in specs:
        f = spec.factors
        shape = prepared[f.data].data.shape
        key = (
            shape,
            f.width,
            f.depth,
            f.layers,
            f.attention,
            f.unshuffle,
            f.batch,
            f.labels != "none",
            f.folder,
            f.model,
            f.generator,
            f.dp_epsilon > 0,
            f.dp_draws,
            f.trainable,
            f.public_steps > 0,
        )
        found.setdefault(key, []).append(spec)
    return found


def _measure(
    protocol: Protocol, specs: Sequence[ModelSpec], prepared: Mapping[str, PreparedData], seconds: float
) -> Kind:
    spec = specs[0]
    data = prepared[spec.factors.data].data
    sets = draw_sets(data, protocol.data[spec.factors.data], spec.factors, spec.seed)
    images = data.images[sets.members]
    labels = None if spec.factors.labels == "none" else np.zeros(len(images), np.int64)
    factors, step, public_step = spec.factors, 0.0, 0.0
    model: Generator
    if factors.generator:
        loaded = load_generator(factors.generator, data.shape, protocol.device)
        model, parameters = loaded, loaded.parameters
    else:
        classes = 0 if labels is None else 1
        if factors.public_steps:  # of another cost than the private ones
            plain = dataclasses.replace(
                factors,
                public="",
                public_steps=0,
                dp_epsilon=0.0,
                trainable="all",
                steps=factors.public_steps,
            )
            public_step = _step_seconds(
                new_training(plain, images, labels, classes, (0,), protocol.device), seconds / 4
            )
            factors = dataclasses.replace(
                factors, public="", public_steps=0, steps=factors.steps - factors.public_steps
            )
        images = images[np.arange(max(len(images), factors.batch)) % len(images)]
        labels = None if labels is None else np.zeros(len(images), np.int64)
        trainer = new_training(factors, images, labels, classes, (0,), protocol.device)
        step = _step_seconds(trainer, seconds / 2)
        model, parameters = trainer.model, trainer.parameters
    asked = None if labels is None else labels[:1].repeat(BATCH)
    passes = passes_of_sampling(spec.factors, _DDIM_STEPS, data.shape[0])
    sampled = _time(lambda: model.sample(range(BATCH), _DDIM_STEPS, asked), seconds / 2) / passes
    work = 0.0
    for one in specs:
        units = count_units(protocol, one)
        private = one.factors.steps - one.factors.public_steps
        training = step * private + public_step * one.factors.public_steps
        work += (training if units.training else 0.0) + sampled * units.attacks
    return {
        "models": len(specs),
        "shape": list(data.shape),
        "model": spec.factors.model,
        "width": spec.factors.width,
        "depth": spec.factors.depth,
        "batch": spec.factors.batch,
        "parameters": parameters,
        "step_seconds": step,
        "pass_seconds": sampled,
        "hours": work / 3600,
    }


def _step_seconds(trainer: Training, seconds: float) -> float:
    trainer.run(_WARMING)
    return _time(lambda: trainer.run(1), seconds)


def _time(work: Callable[[], object], seconds: float) -> float:
    """Return the median seconds of a call, of at least three calls and for about ``seconds``."""
    times: list[float] = []
    until = time.monotonic() + seconds
    while len(times) < _LEAST or time.monotonic() < until:
        before = time.monotonic()
        work()
        times.append(time.monotonic() - before)
    return float(np.median(times))
