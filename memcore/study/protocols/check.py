"""What a protocol may not say, found before anything is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from memcore.study.protocols.protocol import DEFENCES, Factors, Group, ModelKind, Protocol

#: The least that a number may be. All are whole but those in ``_POSITIVE``.
_LEAST: dict[str, int] = {
    "n": 2,
    "half": -1,
    "canaries": 0,
    "canary_copies": 1,
    "width": 4,
    "depth": 1,
    "layers": 1,
    "unshuffle": 1,
    "steps": 1,
    "batch": 1,
    "timesteps": 2,
    "ambient": 0,
    "public_steps": 0,
    "dp_draws": 1,
}
#: Numbers from 0 on, with the most that they may be.
_SHARES: dict[str, float] = {
    "learning_rate": 1.0,
    "weight_decay": 10.0,
    "warmup": 1.0,
    "ema": 0.999999,
    "u_shape": 20.0,
    "dp_epsilon": 1e6,
}
#: Numbers above 0, with the most that they may be.
_SOME: dict[str, float] = {"dp_delta": 0.5, "dp_clip": 1e6}
#: Seeds are below this, and there are at most as many of a group.
MOST_SEEDS = 10_000
#: Models of all groups together, however small the file that asks for them.
_MOST_MODELS = 100_000
#: Attacks that ask for images alone: all that a model without losses can be asked.
_OF_IMAGES = ("extraction", "quality", "samples")
_OF_DENOISERS = ("schedule", "prediction", "timesteps")
_OF_UNETS = ("depth", "layers", "attention", "unshuffle")
_OF_GANS = ("augment",)
#: Defences in the training of a diffusion model; merging duplicates is for every kind.
_OF_TRAINER = tuple(name for name in DEFENCES if name != "merge")
_GAN_IGNORES = (*_OF_DENOISERS, *_OF_UNETS, *_OF_TRAINER, "weight_decay", "warmup")
#: Factors that do nothing to a kind of model.
_IGNORED: dict[ModelKind, tuple[str, ...]] = {
    "diffusion": _OF_GANS,
    "dcgan": _GAN_IGNORES,
    "wgan-gp": _GAN_IGNORES,
    "stylegan": _GAN_IGNORES,
    "flow": (*_OF_DENOISERS, *_OF_TRAINER, *_OF_GANS),
    "autoregressive": (*_OF_DENOISERS, *_OF_UNETS, *_OF_TRAINER, *_OF_GANS),
}


def check_protocol(protocol: Protocol) -> None:
    """Raise ValueError for what is contradictory, naming the group."""
    if protocol.interval < 1:
        raise ValueError(f"interval must be at least 1, got {protocol.interval}")
    for key, spec in protocol.data.items():
        if spec.side < 1 or spec.block < 0 or spec.seed < 0:
            raise ValueError(f"data.{key}: side must be at least 1, block and seed at least 0")
    names = [group.name for group in protocol.groups]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two groups are called {twice!r}")
    models = sum(
        len(set(group.seeds)) * math.prod(map(len, group.grid.values())) for group in protocol.groups
    )
    if models > _MOST_MODELS:
        raise ValueError(f"its groups ask for {models:,} models, of at most {_MOST_MODELS:,}")
    for group in protocol.groups:
        _check_group(group, protocol)
    _check_settings(protocol)


def _check_group(group: Group, protocol: Protocol) -> None:
    where = f"group {group.name!r}"
    if not group.name or not group.name.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"{where}: a name is letters, digits, - and _")
    if not group.seeds or not all(0 <= seed < MOST_SEEDS for seed in group.seeds):
        raise ValueError(f"{where}: seeds must be a number, or a list of numbers below {MOST_SEEDS:,}")
    for name, values in group.grid.items():
        if not values:
            raise ValueError(f"{where}: grid.{name} is empty")
        if name in group.fixed:
            raise ValueError(f"{where}: {name} is in fixed and in grid")
    choices = {name: (value,) for name, value in group.fixed.items()} | dict(group.grid)
    for name, values in choices.items():
        for value in values:
            _check_value(f"{where}: {name}", name, value)
    for data in choices.get("data", ("images",)):
        if data not in protocol.data:
            raise ValueError(f"{where}: data {data!r} is not among {', '.join(protocol.data)}")
    steps = max(choices.get("steps", (1000,)))
    late = [step for step in group.checkpoints if not 1 <= step <= steps]
    if late:
        raise ValueError(f"{where}: the checkpoint {late[0]} is not within its {steps} steps")
    if "unique" in choices.get("labels", ()) and {"membership", "inpainting"} & set(group.attacks):
        raise ValueError(
            f"{where}: images that were not trained on have no unique label, so membership and inpainting lack a control"
        )
    _check_kinds(where, group, choices)
    if "canaries" in group.attacks and not all(value > 0 for value in choices.get("canaries", (0,))):
        raise ValueError(f"{where}: the attack 'canaries' needs canaries")
    _check_defences(where, choices, protocol)
    smallest = min(choices.get("n", (64,)))
    planted = _count_planted(choices)
    if planted > smallest:
        raise ValueError(f"{where}: copies plants {planted} images of n={smallest}")


def _check_kinds(where: str, group: Group, choices: Mapping[str, tuple[Any, ...]]) -> None:
    """Refuse what models that are no diffusion models cannot be, or be asked."""
    kinds: tuple[ModelKind, ...] = choices.get("model", ("diffusion",))
    loaded = any(choices.get("generator", ("",)))
    if loaded and (any(choices.get("folder", ("",))) or "model" in choices):
        raise ValueError(f"{where}: generator names a trained model: leave out folder and model")
    for name in choices:
        if all(name in _IGNORED[kind] for kind in kinds) and not loaded:
            raise ValueError(f"{where}: {name} does nothing to {' or '.join(kinds)}: leave it out")
    other = "generator" if loaded else next((kind for kind in kinds if kind != "diffusion"), "")
    if not other:
        return
    attacks = sorted(set(group.attacks) - set(_OF_IMAGES))
    if attacks:
        raise ValueError(f"{where}: {other} has no loss of an image and cannot fill one in: no {attacks[0]}")
    if set(choices.get("labels", ("none",))) != {"none"}:
        raise ValueError(f"{where}: {other} has no classes: labels must be 'none'")
    if other != "generator" and any(choices.get("folder", ("",))):
        raise ValueError(f"{where}: folder is a diffusion model: leave out model")


def _check_defences(where: str, choices: Mapping[str, tuple[Any, ...]], protocol: Protocol) -> None:
    """Raise ValueError for defences that need what the group does not have."""
    plain = Factors()

    def values(name: str) -> tuple[Any, ...]:
        return choices.get(name, (getattr(plain, name),))

    public, steps = values("public"), values("public_steps")
    unknown = [name for name in public if name and name not in protocol.data]
    if unknown:
        raise ValueError(f"{where}: public {unknown[0]!r} is not among {', '.join(protocol.data)}")
    if any(public) != any(steps) or max(steps) >= min(values("steps")):
        raise ValueError(
            f"{where}: public names the data of the first public_steps, which must be fewer than steps: give both"
        )
    private = any(public) or any(values("dp_epsilon")) or "small" in values("trainable")
    if private and set(values("labels")) != {"none"}:
        raise ValueError(f"{where}: labels must be 'none' with public, dp_epsilon or trainable")
    if any(values("ambient")):
        if set(values("prediction")) != {"epsilon"} or any(values("flips")):
            raise ValueError(f"{where}: ambient needs prediction 'epsilon' and no flips")
        if max(values("ambient")) >= min(values("timesteps")) - 1:
            raise ValueError(f"{where}: ambient must be below the last timestep")


def _count_planted(choices: Mapping[str, tuple[Any, ...]]) -> int:
    """Return how many images the group plants copies of, at most."""
    return max((sum(images for images, _ in value) for value in choices.get("copies", ())), default=0)


def _check_value(where: str, name: str, value: Any) -> None:
    if name in _LEAST and value < _LEAST[name]:
        raise ValueError(f"{where} must be at least {_LEAST[name]}, got {value}")
    if name in _SHARES and not 0 <= value <= _SHARES[name]:
        raise ValueError(f"{where} must be from 0 to {_SHARES[name]:g}, got {value}")
    if name in _SOME and not 0 < value <= _SOME[name]:
        raise ValueError(f"{where} must be above 0 and at most {_SOME[name]:g}, got {value}")
    if name == "width" and value % 4:
        raise ValueError(f"{where} must be divisible by 4, got {value}")
    if name == "copies" and not all(images >= 1 and times >= 1 for images, times in value):
        raise ValueError(
            f"{where} must be pairs (images, copies) of at least 1, got {list(map(list, value))}"
        )


def _check_settings(protocol: Protocol) -> None:
    extraction, membership = protocol.extraction, protocol.membership
    whole = {
        "extraction.samples": extraction.samples,
        "extraction.steps": extraction.steps,
        "extraction.neighbours": extraction.neighbours - 1,
        "membership.draws": membership.draws,
        "inpainting.images": protocol.inpainting.images,
        "inpainting.tries": protocol.inpainting.tries,
        "inpainting.steps": protocol.inpainting.steps,
        "quality.steps": protocol.quality.steps,
        "quality.batch": protocol.quality.batch,
        "quality.features": protocol.quality.features,
        "canaries.candidates": protocol.canaries.candidates - 1,
        "canaries.draws": protocol.canaries.draws,
    }
    for name, value in whole.items():
        if value < 1:
            raise ValueError(f"{name} is too small")
    if not 0 <= extraction.held_out_rate < 1:
        raise ValueError(f"extraction.held_out_rate must be in [0, 1), got {extraction.held_out_rate}")
    if not 0 <= protocol.filter.refused < 1:
        raise ValueError(f"filter.refused must be in [0, 1), got {protocol.filter.refused}")
    if not membership.timesteps or len(set(membership.timesteps)) < len(membership.timesteps):
        raise ValueError(
            f"membership.timesteps must be at least one, each once, got {list(membership.timesteps)}"
        )
