"""A run's configuration: one flat set of names for flags, TOML files and ``run.toml``."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Annotated, Any, Literal, get_args

from memcore.errors import ArgumentTypeError, ArgumentValueError, ConfigError
from memcore.images.resize import Fit, Method, Resize
from memcore.runs.options import Option, declared
from memcore.sampling.budget import Budget, Fixed, Sequential
from memcore.sampling.screen import SCORES
from memcore.sources.conditioned import check_conditions
from memcore.system.colours import parse_colour
from memcore.system.credentials import parse_options
from memcore.types import DEFAULT_MIN_CLIQUE, DEFAULT_NODE_LIMIT, DEFAULT_THRESHOLD, Threshold

SourceName = Literal["diffusers", "stored", "custom"]
DtypeName = Literal["float32", "float16", "bfloat16"]
Keep = Literal["findings", "all"]
BudgetName = Literal["fixed", "sequential"]

SOURCES: tuple[str, ...] = get_args(SourceName)
DTYPES: tuple[str, ...] = get_args(DtypeName)
KEEP: tuple[str, ...] = get_args(Keep)
BUDGETS: tuple[str, ...] = get_args(BudgetName)
SCREENS = ("none", *SCORES)
_OF_MODEL = ("variant", "revision", "scheduler", "model_config", "adapter")


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that decides what a run finds; threads, workers and progress do not, and are not in here.

    ``source`` "diffusers" samples ``model``; "stored" reads generations from ``images``; "custom" is a Sampler that a
    program hands in, or the one that ``sampler`` names as module:attribute, made with ``sampler_options``, a JSON object
    whose values may be ``env:NAME`` to be taken from the environment. ``shard_prompts`` 0 leaves it to the number of
    prompts: 64 shards or more, of 1,000 prompts at most. ``steps`` and ``guidance_scale`` have no default where images
    are sampled: they change the images.

    ``budget`` "fixed" makes ``generations`` images for every prompt; "sequential" stops early, and gives up a prompt whose
    copy rate is at least ``copy_rate`` with a probability of at most ``miss_rate``. ``screen`` scores each prompt by one
    denoising step of ``screen_seeds`` images with guidance ``screen_guidance``; prompts below ``screen_threshold`` are not
    sampled (at 0, all are, and the scores are recorded). ``background`` is the colour (#rrggbb or r,g,b) under transparent
    pixels of stored images; without it they are refused. ``resize`` is the size, as HxW, that stored images of other sizes
    are brought to by ``resize_method`` and ``resize_fit``, as ``memcore index`` does. ``edges_up_to`` above 0 stores each
    prompt's pairs up to that distance, so that other thresholds can be evaluated later.
    """

    source: Annotated[SourceName, Option("where images come from", use=None)] = "diffusers"
    model: Annotated[
        str, Option("folder or name of a diffusers pipeline, or one .safetensors file", use="sampled")
    ] = ""
    variant: Annotated[
        str | None, Option("of the model's files, for example fp16", "name", use="sampled")
    ] = None
    revision: Annotated[
        str | None, Option("of a model on the hub: a branch, tag or commit", "name", use="sampled")
    ] = None
    scheduler: Annotated[
        str | None,
        Option(
            "class of diffusers, for example DDIMScheduler, instead of the model's own",
            "class",
            use="sampled",
        ),
    ] = None
    model_config: Annotated[
        str | None,
        Option("pipeline that a model in one file takes all but its weights from", "folder", use="sampled"),
    ] = None
    adapter: Annotated[
        str | None,
        Option("folder or file of LoRA weights, which are added to the model's", "folder", use="sampled"),
    ] = None
    images: Annotated[
        str,
        Option(
            "folder with a folder of images or an .npy for each prompt, or images with metadata.jsonl; .npy file, tars or "
            "Parquet files",
            use="stored",
        ),
    ] = ""
    background: Annotated[
        str,
        Option(
            "colour under transparent pixels, as #ffffff or 255,255,255; without it such images are quarantined",
            "colour",
            use="stored",
        ),
    ] = ""
    resize: Annotated[
        str | None,
        Option(
            "resize every image to these pixels; without it other sizes are quarantined", "HxW", use="stored"
        ),
    ] = None
    resize_method: Annotated[
        Method | None, Option("one of Pillow's methods (default: lanczos)", use="stored")
    ] = None
    resize_fit: Annotated[Fit | None, Option("what happens to the aspect (default: crop)", use="stored")] = (
        None
    )
    sampler: Annotated[
        str,
        Option(
            "module:attribute of a Python sampler, or http for a hosted model, instead of a model",
            "module:attribute",
            use="sampled",
        ),
    ] = ""
    sampler_options: Annotated[
        str,
        Option(
            "JSON object to make the sampler with; env:NAME and file:PATH keep a secret out of it",
            "json",
            use="sampled",
        ),
    ] = ""
    prompts: Annotated[
        str,
        Option(
            ".txt with one prompt a line; or .csv, .tsv, .jsonl or .parquet with a column prompt, caption or text",
            "file",
            use="sampled",
        ),
    ] = ""
    conditions: Annotated[
        str | None,
        Option(
            "columns of the list of prompts that images are made from besides: label, image, mask (a comma between them)",
            "columns",
            use="sampled",
        ),
    ] = None
    strength: Annotated[
        float | None,
        Option(
            "how far an image may leave the given one, in (0, 1]; no default where the pipeline takes it",
            "share",
            use="sampled",
        ),
    ] = None
    generations: Annotated[
        int, Option("images a prompt; with budget sequential at most", "images", use="sampled")
    ] = 500
    budget: Annotated[
        BudgetName,
        Option("sequential: stop sampling a prompt as soon as its result is decided", use="sampled"),
    ] = "fixed"
    copy_rate: Annotated[
        float,
        Option("for sequential: the smallest share of copies that must be found", "share", use="sampled"),
    ] = 0.1
    miss_rate: Annotated[
        float,
        Option(
            "for sequential: the largest expected share of such prompts that are missed",
            "share",
            use="sampled",
        ),
    ] = 0.01
    screen: Annotated[
        str, Option("score each prompt by one denoising step", choices=SCREENS, use="sampled")
    ] = "none"
    screen_threshold: Annotated[
        float,
        Option(
            "prompts with a lower score are not sampled; 0: all are sampled and scores recorded",
            "score",
            use="sampled",
        ),
    ] = 0.0
    screen_seeds: Annotated[
        int, Option("images a prompt that the screen evaluates", "images", use="sampled")
    ] = 4
    screen_guidance: Annotated[float, Option("guidance of the screen", "scale", use="sampled")] = 7.5
    seed: Annotated[
        int,
        Option(
            "the run's seed; each image's seed is a hash of it, the prompt's number and the image's",
            "seed",
            use="sampled",
        ),
    ] = 0
    steps: Annotated[
        int,
        Option("denoising steps; no default, since they change the images", "steps", use="sampled"),
    ] = 0
    guidance_scale: Annotated[
        float | None,
        Option(
            "classifier-free guidance; no default where the pipeline takes it",
            "scale",
            use="sampled",
        ),
    ] = None
    batch_size: Annotated[int, Option("images at a time", "images")] = 16
    height: Annotated[int, Option("pixels; 0: the pipeline's own", "pixels", use="sampled")] = 0
    width: Annotated[int, Option("pixels; 0: the pipeline's own", "pixels", use="sampled")] = 0
    dtype: Annotated[DtypeName, Option("the model's numbers", use="sampled")] = "float32"
    device: Annotated[str, Option("cpu, cuda, or one of several GPUs: cuda:1", use="sampled")] = "cpu"
    threshold: Annotated[float, Option("tiled l2 of an edge, in [0, 1]", "distance")] = DEFAULT_THRESHOLD
    grid: Annotated[tuple[int, int], Option("tiles", "rows columns")] = (4, 4)
    min_clique: Annotated[int, Option("generations that make a finding", "images")] = DEFAULT_MIN_CLIQUE
    node_limit: Annotated[int, Option("branch-and-bound nodes that a clique search may use", "nodes")] = (
        DEFAULT_NODE_LIMIT
    )
    edges_up_to: Annotated[
        float,
        Option(
            "store pairs up to this distance, for memcore evaluate's sweep; 0: none",
            "distance",
        ),
    ] = 0.0
    keep: Annotated[Keep, Option("images to store")] = "findings"
    shard_prompts: Annotated[
        int,
        Option("prompts a shard, each a few files; 0: 64 shards or more, of 1000 prompts at most", "prompts"),
    ] = 0

    def __post_init__(self) -> None:
        """Check every value. Raises ConfigError."""
        for field in declared(Config).values():
            object.__setattr__(self, field.name, field.checked(getattr(self, field.name)))
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
        self._check_conditions()
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
                    "steps is missing: give the number of denoising steps, which changes the images"
                )
        for name in _OF_MODEL:
            if getattr(self, name) is not None and self.source != "diffusers":
                raise ConfigError(
                    f"{name} is of a diffusers model, but source is {self.source!r}: leave it out"
                )
        self._check_background()
        self._check_resize()
        parse_options(self.sampler_options)
        if self.sampler_options and not self.sampler:
            raise ConfigError("sampler_options are given, but no sampler to make with them")
        if self.source == "stored" and not self.images:
            raise ConfigError("images is missing: a folder of stored generations or an .npy file")

    def _idle(self) -> list[str]:
        """Return the names that have no effect under the other settings."""
        idle = ["budget", "copy_rate", "miss_rate"] if self.budget == "fixed" else []
        if self.screen == "none":
            idle += ["screen", "screen_threshold", "screen_seeds", "screen_guidance"]
        if self.strength is None:
            idle.append("strength")
        return idle if self.edges_up_to else [*idle, "edges_up_to"]

    def _check_conditions(self) -> None:
        """Bring the names into their one form."""
        object.__setattr__(self, "conditions", ",".join(self.condition_names()) or None)
        if self.strength is not None and not 0 < self.strength <= 1:
            raise ConfigError(f"strength must be above 0 and at most 1, got {self.strength:g}")
        if self.strength is not None and self.source != "diffusers":
            raise ConfigError(
                f"strength is of a diffusers model, but source is {self.source!r}: leave it out"
            )

    def condition_names(self) -> tuple[str, ...]:
        """Return the columns that ``conditions`` names. Raises ConfigError for others."""
        return check_conditions([n for n in (self.conditions or "").replace(" ", "").split(",") if n])

    def _check_background(self) -> None:
        """Bring the colour into its one form, so that a run does not depend on how it was written."""
        if not self.background:
            return
        try:
            colour = parse_colour(self.background)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        if not self.background.startswith("#"):
            object.__setattr__(self, "background", f"#{bytes(colour).hex()}")

    def _check_budget(self) -> None:
        if self.budget == "sequential" and self.source == "stored":
            raise ConfigError(
                "budget='sequential' saves sampling, but stored images exist already: use budget='fixed'"
            )
        try:
            Sequential(self.copy_rate, self.miss_rate)
        except (ArgumentValueError, ArgumentTypeError) as error:
            raise ConfigError(str(error)) from None

    def _check_resize(self) -> None:
        given = [
            name for name in ("resize", "resize_method", "resize_fit") if getattr(self, name) is not None
        ]
        if given and self.source != "stored":
            raise ConfigError(f"{given[0]} is for stored images, but source is {self.source!r}: leave it out")
        if given and not self.resize:
            raise ConfigError(f"{given[0]} is given, but no resize: give the size too, as resize = '512x512'")
        self.resized()

    def _check_screen(self) -> None:
        if self.screen != "none" and self.source == "stored":
            raise ConfigError("screen saves sampling, but stored images exist already: use screen='none'")
        if self.screen == "none" and self.screen_threshold:
            raise ConfigError(
                "screen_threshold is set, but screen is 'none': choose the screen whose score it limits"
            )
        if not self.screen_threshold >= 0:
            raise ConfigError(f"screen_threshold must be at least 0, got {self.screen_threshold}")
        _at_least("screen_seeds", self.screen_seeds, 1)

    def make_budget(self) -> Budget:
        """Return the rule that says how many images each prompt gets."""
        if self.budget == "fixed":
            return Fixed(self.generations)
        return Sequential(self.copy_rate, self.miss_rate, self.generations, self.min_clique)

    def describe_budget(self) -> dict[str, Any]:
        """Return what ``run.toml`` says of the budget, and when the sequential rule gives a prompt up."""
        described: dict[str, Any] = {"rule": self.budget, "generations": self.generations}
        rule = self.make_budget()
        if isinstance(rule, Sequential):
            described |= {
                "copy_rate": rule.copy_rate,
                "miss_rate": rule.miss_rate,
                "look_every": rule.look_every,
            }
            described["stops"] = list(rule.boundary.stops)
        return described

    def background_colour(self) -> tuple[int, int, int] | None:
        """Return ``background`` as red, green and blue; None if none is declared."""
        if not self.background:
            return None
        return parse_colour(self.background)

    def resized(self) -> Resize | None:
        """Return how stored images are resized; None if they are not."""
        return Resize.parse(self.resize, self.resize_method or "lanczos", self.resize_fit or "crop")

    def describe_screen(self) -> dict[str, Any]:
        """Return what ``run.toml`` says of the screen; nothing if there is none."""
        if self.screen == "none":
            return {}
        return {
            "score": self.screen,
            "threshold": self.screen_threshold,
            "seeds": self.screen_seeds,
            "guidance": self.screen_guidance,
        }

    def digest(self, fingerprint: str, prompts_digest: str) -> str:
        """Return the sha256 of all that decides the findings; a path counts by its content, not by its name."""
        decisive = dataclasses.asdict(self)
        # the sampler's fingerprint has what these name
        for path in (*_OF_MODEL, "model", "images", "prompts", "sampler"):
            decisive.pop(path)
        decisive.pop("conditions")  # the digest of the prompts has them by their content
        decisive["sampler_options"] = (
            ""  # any of them may be a secret; the public ones are in the fingerprint
        )
        for name in (*self._idle(), "resize", "resize_method", "resize_fit"):
            decisive.pop(name)
        if (resize := self.resized()) is not None:
            decisive["resize"] = resize.as_dict()
        payload = {"config": decisive, "sampler": fingerprint, "prompts": prompts_digest}
        return hashlib.sha256(json.dumps(payload, sort_keys=True).encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, as TOML holds them, without those that are None."""
        return {
            k: list(v) if isinstance(v, tuple) else v
            for k, v in dataclasses.asdict(self).items()
            if v is not None
        }

    def as_recorded(self) -> dict[str, Any]:
        """Return what ``run.toml`` holds: everything but the options of a sampler, any of which may be a secret."""
        return {name: value for name, value in self.as_dict().items() if name != "sampler_options"}


def _at_least(name: str, value: int, minimum: int) -> None:
    if value < minimum:
        raise ConfigError(f"{name} must be at least {minimum}, got {value}")
