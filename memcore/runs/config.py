"""A run's configuration: one flat set of names, the same as flags, in TOML and in ``run.toml``."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memcore.errors import ArgumentTypeError, ArgumentValueError, ConfigError
from memcore.sampling.budget import Budget, Fixed, Sequential
from memcore.sampling.diffusers.first_step import SCORES
from memcore.system.credentials import parse_options
from memcore.types import DEFAULT_MIN_CLIQUE, DEFAULT_NODE_LIMIT, DEFAULT_THRESHOLD, Threshold

SOURCES = ("diffusers", "stored", "custom")
DTYPES = ("float32", "float16", "bfloat16")
KEEP = ("findings", "all")
BUDGETS = ("fixed", "sequential")
SCREENS = ("none", *SCORES)


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that decides what a run finds. What does not (threads, workers, progress) is not in here.

    ``source`` "diffusers" samples ``model``; "stored" reads generations from ``images``; "custom" is a Sampler that a
    program hands in, or the one that ``sampler`` names as module:attribute, made with ``sampler_options``, a JSON object
    whose values may be ``env:NAME`` to be taken from the environment. ``shard_prompts`` 0 leaves it to the number of
    prompts: 64 shards or more, of 1,000 prompts at most. ``steps`` and ``guidance_scale`` have no default where images
    are sampled: they change the images.
    ``budget`` "fixed" makes ``generations`` images for every prompt; "sequential" stops early, and gives up a prompt whose
    copy rate is at least ``copy_rate`` with a probability of at most ``miss_rate``.
    ``background`` is the colour, as #rrggbb, that transparent pixels of stored images stand on; without it they are refused.

    copy rate is at least ``copy_rate`` with a probability of at most ``miss_rate``. ``screen`` scores each prompt by one
    denoising step of ``screen_seeds`` images with guidance ``screen_guidance``; prompts below ``screen_threshold`` are not
    sampled (at 0, all are, and the scores are recorded). ``edges_up_to`` above 0 stores each prompt's pairs up to that
    distance, so that other thresholds can be evaluated later.
    """

    source: str = "diffusers"
    model: str = ""
    images: str = ""
    background: str = ""
    sampler: str = ""
    sampler_options: str = ""
    prompts: str = ""
    generations: int = 500
    budget: str = "fixed"
    copy_rate: float = 0.1
    miss_rate: float = 0.01
    screen: str = "none"
    screen_threshold: float = 0.0
    screen_seeds: int = 4
    screen_guidance: float = 7.5
    seed: int = 0
    steps: int = 0
    guidance_scale: float | None = None
    batch_size: int = 16
    height: int = 0
    width: int = 0
    dtype: str = "float32"
    device: str = "cpu"
    threshold: float = DEFAULT_THRESHOLD
    grid: tuple[int, int] = (4, 4)
    min_clique: int = DEFAULT_MIN_CLIQUE
    node_limit: int = DEFAULT_NODE_LIMIT
    edges_up_to: float = 0.0
    keep: str = "findings"
    shard_prompts: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _checked(field, getattr(self, field.name)))
        _one_of("source", self.source, SOURCES)
        _one_of("dtype", self.dtype, DTYPES)
        _one_of("keep", self.keep, KEEP)
        _one_of("budget", self.budget, BUDGETS)
        for name in ("generations", "batch_size", "node_limit"):
            _at_least(name, getattr(self, name), 1)
        _at_least("min_clique", self.min_clique, 2)
        for name in ("seed", "steps", "height", "width", "shard_prompts"):
            _at_least(name, getattr(self, name), 0)
        if self.grid[0] < 1 or self.grid[1] < 1:
            raise ConfigError(f"grid must be two positive integers, got {list(self.grid)}")
        try:
            Threshold(self.threshold)
        except (ArgumentValueError, ArgumentTypeError) as error:
            raise ConfigError(str(error)) from None
        self._check_budget()
        self._check_screen()
        if self.edges_up_to and not self.threshold <= self.edges_up_to <= 1:
            raise ConfigError(
                f"edges_up_to must lie between threshold={self.threshold:g} and 1, or be 0 to store none, got "
                f"{self.edges_up_to:g}"
            )
        if self.source == "diffusers":
            if not self.model:
                raise ConfigError("model is missing: the folder or name of a diffusers pipeline")
            if self.steps < 1:
                raise ConfigError(
                    "steps is missing: the number of denoising steps changes the images, so say it"
                )
        if self.background and not re.fullmatch("#[0-9a-fA-F]{6}", self.background):
            raise ConfigError(f"background must look like #ffffff, got {self.background!r}")
        parse_options(self.sampler_options)
        if self.sampler_options and not self.sampler:
            raise ConfigError("sampler_options are given, but no sampler to make with them")
        if self.source == "stored" and not self.images:
            raise ConfigError("images is missing: a folder of stored generations or an .npy file")

    def _idle(self) -> list[str]:
        """Names that decide nothing as things are set."""
        idle = ["budget", "copy_rate", "miss_rate"] if self.budget == "fixed" else []
        if self.screen == "none":
            idle += ["screen", "screen_threshold", "screen_seeds", "screen_guidance"]
        return idle if self.edges_up_to else [*idle, "edges_up_to"]

    def _check_budget(self) -> None:
        if self.budget == "sequential" and self.source == "stored":
            raise ConfigError(
                "budget='sequential' saves sampling, but stored images are there already: use budget='fixed'"
            )
        try:
            Sequential(self.copy_rate, self.miss_rate)
        except (ArgumentValueError, ArgumentTypeError) as error:
            raise ConfigError(str(error)) from None

    def _check_screen(self) -> None:
        _one_of("screen", self.screen, SCREENS)
        if self.screen != "none" and self.source == "stored":
            raise ConfigError("screen saves sampling, but stored images are there already: use screen='none'")
        if self.screen == "none" and self.screen_threshold:
            raise ConfigError("screen_threshold is set, but screen is 'none': say which score it is of")
        if not self.screen_threshold >= 0:
            raise ConfigError(f"screen_threshold must be at least 0, got {self.screen_threshold}")
        _at_least("screen_seeds", self.screen_seeds, 1)

    def make_budget(self) -> Budget:
        """The rule that says how many images each prompt gets."""
        if self.budget == "fixed":
            return Fixed(self.generations)
        return Sequential(self.copy_rate, self.miss_rate, self.generations, self.min_clique)

    def describe_budget(self) -> dict[str, Any]:
        """What ``run.toml`` says of the budget: the names, and when the sequential rule gives a prompt up."""
        told: dict[str, Any] = {"rule": self.budget, "generations": self.generations}
        rule = self.make_budget()
        if isinstance(rule, Sequential):
            told |= {"copy_rate": rule.copy_rate, "miss_rate": rule.miss_rate, "look_every": rule.look_every}
            told["stops"] = list(rule.boundary.stops)
        return told

    def background_colour(self) -> tuple[int, int, int] | None:
        """``background`` as red, green and blue; None where none is declared."""
        if not self.background:
            return None
        red, green, blue = bytes.fromhex(self.background[1:])
        return red, green, blue

    def describe_screen(self) -> dict[str, Any]:
        """What ``run.toml`` says of the screen; nothing where there is none."""
        if self.screen == "none":
            return {}
        return {
            "score": self.screen,
            "threshold": self.screen_threshold,
            "seeds": self.screen_seeds,
            "guidance": self.screen_guidance,
        }

    def digest(self, fingerprint: str, prompts_digest: str) -> str:
        """sha256 over all that decides the findings; paths count by what they hold, not by where they stand."""
        decisive = dataclasses.asdict(self)
        for path in ("model", "images", "prompts", "sampler"):
            decisive.pop(path)
        for name in self._idle():
            decisive.pop(name)
        payload = {"config": decisive, "sampler": fingerprint, "prompts": prompts_digest}
        return hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as TOML holds them; what is None is left out."""
        return {
            k: list(v) if isinstance(v, tuple) else v
            for k, v in dataclasses.asdict(self).items()
            if v is not None
        }


def from_mapping(values: Mapping[str, Any]) -> Config:
    """A Config from TOML values; unknown names are refused with the nearest known one."""
    known = {field.name for field in dataclasses.fields(Config)}
    clean = {key.replace("-", "_"): value for key, value in values.items()}
    for key in clean:
        if key not in known:
            import difflib

            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known names: {', '.join(sorted(known))}"
            raise ConfigError(f"the configuration has an unknown name {key!r}{hint}")
    return Config(**clean)


def read_toml(path: Path) -> dict[str, Any]:
    """The flat names of a configuration file."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(f"the configuration file {path} does not exist") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration file {path} is not valid TOML: {error}") from None


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Lines that say what differs between two flat configurations.

    >>> difference({"steps": 20, "seed": 0}, {"steps": 30, "seed": 0})
    ['steps: 20 -> 30']
    """
    names = sorted(set(old) | set(new))
    return [
        f"{n}: {old.get(n, 'not set')} -> {new.get(n, 'not set')}" for n in names if old.get(n) != new.get(n)
    ]


def _checked(field: dataclasses.Field[Any], value: Any) -> Any:
    """The value in the field's type; an int stands for a float, nothing else is converted."""
    name, kind = field.name, str(field.type)
    if kind == "tuple[int, int]":
        if not isinstance(value, list | tuple) or len(value) != 2 or not all(type(v) is int for v in value):
            raise ConfigError(f"{name} must be two integers, got {value!r}")
        return tuple(value)
    if kind.startswith("float"):
        if value is None and "None" in kind:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{name} must be a number, got {value!r}")
        try:
            number = float(value)
        except OverflowError:  # an integer of more digits than a float has
            number = math.inf
        if not math.isfinite(number):
            raise ConfigError(f"{name} must be a finite number, got {value!r}")
        return number
    if kind == "int" and type(value) is not int:
        raise ConfigError(f"{name} must be an integer, got {value!r}")
    if kind == "str" and not isinstance(value, str):
        raise ConfigError(f"{name} must be a text, got {value!r}")
    return value


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


def _at_least(name: str, value: int, minimum: int) -> None:
    if value < minimum:
        raise ConfigError(f"{name} must be at least {minimum}, got {value}")
