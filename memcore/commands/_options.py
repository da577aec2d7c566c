"""Groups of options that several commands share."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memcore.errors import ConfigError
from memcore.runs.options import Declared, Use
from memcore.system.console import write_error

if TYPE_CHECKING:
    from memcore.images.resize import Resize
    from memcore.runs.config import Config
    from memcore.runs.folder import RunFolder

SOURCE_HELP = "a folder of images, a .tar, .parquet, .npy or .npz file, or a folder of one of these"


#: The groups of a configuration's options in ``--help``: title, what they decide, and their names.
GROUPS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "what makes the images",
        "A model or a sampler, and what it is given; or stored images.",
        (
            *("model", "variant", "revision", "model_config", "adapter", "scheduler", "sampler"),
            *("sampler_options", "prompts", "conditions", "steps"),
            *("guidance_scale", "strength", "height", "width", "dtype", "device", "batch_size", "seed"),
            *("images", "resize", "resize_method", "resize_fit", "background"),
        ),
    ),
    (
        "how many images a prompt gets",
        "A fixed number, or as many as it takes to decide.",
        ("generations", "budget", "copy_rate", "miss_rate"),
    ),
    (
        "a screen before sampling",
        "A score from one denoising step, by which prompts may be left out.",
        ("screen", "screen_threshold", "screen_seeds", "screen_guidance"),
    ),
    (
        "what is a finding",
        "Which images are nearly the same, and how many of them make a finding.",
        ("threshold", "grid", "min_clique", "node_limit"),
    ),
    ("what is stored", "Files of the run.", ("keep", "edges_up_to", "shard_prompts")),
)


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add --threads of a command that works in one process."""
    parser.add_argument("--threads", type=int, help="threads (default: all processors)")


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add --workers, --threads and --quiet of a command that starts workers."""
    group = parser.add_argument_group("workers", "They change how long a run takes, and no finding.")
    group.add_argument(
        "--workers",
        type=int,
        help="processes (default: one for each processor; with --device cuda one for each GPU)",
    )
    group.add_argument(
        "--threads", type=int, help="threads a worker (default: the processors, divided among the workers)"
    )
    group.add_argument("--quiet", action="store_true", help="show no progress")


def add_allow_incomplete(parser: argparse.ArgumentParser) -> None:
    """Add --allow-incomplete of a command that says what a run decided."""
    parser.add_argument(
        "--allow-incomplete",
        action="store_true",
        help="exit with 0, not 5, where something was not decided: prompts that failed, images not compared",
    )


def add_trust_paths(parser: argparse._ActionsContainer, what: str) -> None:
    """Add --trust-paths of a command that may open places outside of a folder because the folder names them."""
    parser.add_argument(
        "--trust-paths",
        action="store_true",
        help=f"{what}; do so only with what you made yourself",
    )


def add_launcher(parser: argparse.ArgumentParser, *, noun: str = "shard", run: str = "run") -> None:
    """Add the flags that say where the workers are and which part of the run they do.

    ``noun`` is what a task is called, ``run`` what the whole is; the prompts of a shard alone can be done again.
    """
    from memcore.engine import launchers

    group = parser.add_argument_group(
        "launcher and parts", f"Where the workers are, and what of the {run} is done."
    )
    group.add_argument(
        "--launcher",
        choices=launchers.names(),
        default="local",
        help=f"{launchers.describe()} (default: %(default)s)",
    )
    group.add_argument("--ray-address", help="a Ray cluster (default: one is started on this machine)")
    group.add_argument("--tasks", type=int, help="tasks of the SLURM array, each of which does one part")
    group.add_argument(
        "--sbatch",
        action="append",
        default=[],
        metavar="OPTION",
        help="an option of sbatch, e.g. --sbatch=--time=8:0:0; may be repeated",
    )
    group.add_argument("--part", metavar="K/N", help=f"do only the K-th of N parts of the {run}")
    group.add_argument(
        "--retry",
        action="store_true",
        help=f"do the {noun}s again that failed three times and were quarantined",
    )
    if noun != "shard":
        return
    group.add_argument(
        "--retry-failed",
        action="store_true",
        help="do the prompts again that failed; all others stay as they are",
    )


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add the flags that describe a source of training images."""
    from memcore.sources.open import KINDS

    parser.add_argument(
        "--kind", choices=tuple(KINDS), help="what to read, where a folder holds several kinds"
    )
    parser.add_argument(
        "--image-column",
        help="of Parquet: the column of image bytes (default: image, img, ..., or the only one)",
    )
    parser.add_argument(
        "--caption-column", help="of Parquet (default: prompt, caption or text, whichever is there)"
    )
    parser.add_argument("--captions", type=Path, help="of arrays: a text file, one line an image")


def add_resize(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how training images of other sizes, or transparent ones, are made comparable."""
    from memcore.images.resize import FITS, METHODS

    parser.add_argument(
        "--resize", metavar="HxW", help="resize every image to these pixels (default: none is resized)"
    )
    parser.add_argument(
        "--resize-method",
        choices=METHODS,
        default="lanczos",
        help="one of Pillow's methods (default: %(default)s)",
    )
    parser.add_argument(
        "--resize-fit",
        choices=FITS,
        default="crop",
        help="what happens to the aspect (default: %(default)s)",
    )
    parser.add_argument(
        "--background",
        metavar="COLOUR",
        help="colour under transparent images, as 255,255,255 or #ffffff (default: they are refused)",
    )


def read_resize(arguments: argparse.Namespace) -> Resize | None:
    """Return the resize that the flags of ``add_resize`` describe."""
    from memcore.images.resize import Resize

    return Resize.parse(arguments.resize, arguments.resize_method, arguments.resize_fit)


def add_distance(parser: argparse.ArgumentParser, *, default: str) -> None:
    """Add --distance, with the metrics that training images can be compared by."""
    from memcore.matching.metric import METRICS

    meanings = "; ".join(f"{metric.name}, {metric.help}" for metric in METRICS.values())
    text = f"distance of images (default: %(default)s): {meanings}"
    parser.add_argument("--distance", choices=tuple(METRICS), default=default, help=text)


def open_described(arguments: argparse.Namespace, place: Path) -> Any:
    """Open the source at a place as the flags describe it."""
    from memcore.sources.open import open_source

    names = ("image_column", "caption_column", "captions")
    options = {n: str(getattr(arguments, n)) for n in names if getattr(arguments, n)}
    return open_source(place, arguments.kind, **options)


def add_configuration(parser: argparse.ArgumentParser, use: Use) -> None:
    """Add a flag for each option of a run's configuration that means something for ``use``, in groups, and --trust-paths."""
    parser.add_argument(
        "--config", type=Path, help="TOML file with the names of the flags of the configuration; flags win"
    )
    fields = {field.name: field for field in _fields(use)}
    named = {name for _, _, names in GROUPS for name in names}
    others = (
        "others",
        "What belongs to none of these groups.",
        tuple(name for name in fields if name not in named),
    )
    for title, about, names in (*GROUPS, others):
        own = [fields[name] for name in fields if name in names]
        if own:
            group = parser.add_argument_group(f"configuration: {title}", about)
            for field in own:
                _add_field(group, field)
            if title == GROUPS[0][0]:
                what = "model" if use == "sampled" else "stored images"
                add_trust_paths(group, f"resume with the {what} that the run's folder names")


def add_fields(parser: argparse.ArgumentParser, title: str, about: str, names: Sequence[str]) -> None:
    """Add a flag for each of some options of a run's configuration."""
    fields = {field.name: field for field in _fields("sampled")}
    group = parser.add_argument_group(title, about)
    for name in names:
        _add_field(group, fields[name])


def _add_field(group: argparse._ArgumentGroup, field: Declared) -> None:
    text = field.help.replace("%", "%%")
    if field.choices:
        group.add_argument(field.flag, choices=field.choices, help=text)
        return
    units = tuple(field.option.unit.upper().split()) or (field.name.upper(),)
    if field.size > 1:
        group.add_argument(field.flag, type=field.kind, nargs=field.size, metavar=units, help=text)
    else:
        group.add_argument(field.flag, type=field.kind, metavar=units[0], help=text)


def _fields(use: Use) -> list[Declared]:
    from memcore.runs.config import Config
    from memcore.runs.options import declared

    return [field for field in declared(Config).values() if field.option.use in (use, "both")]


def open_existing(arguments: argparse.Namespace) -> RunFolder | None:
    """Open the run, which is then handed down; None if there is none yet."""
    from memcore.runs import layout
    from memcore.runs.folder import RunFolder
    from memcore.storage.open import open_storage

    storage = open_storage(arguments.run)
    return RunFolder.open_storage(storage) if storage.exists(layout.RUN) else None


def _tell_idle(arguments: argparse.Namespace, told: Mapping[str, Any], use: Use) -> None:
    """Say which names of a configuration file mean nothing here: one file may serve ``audit`` and ``filter``."""
    from memcore.runs.config import Config
    from memcore.runs.options import declared

    names = {name.replace("-", "_") for name in told}
    uses = {field.name: field.option.use for field in declared(Config).values()}
    idle = sorted(name for name in names if uses.get(name) not in (use, "both", None))
    if idle:
        what = "stored images, of which all are read" if use == "stored" else "images that are sampled"
        verb = "means" if len(idle) == 1 else "mean"
        write_error(f"memcore: {', '.join(idle)} in {arguments.config} {verb} nothing for {what}")


#: What of a run's configuration says where something outside of its folder is, by what makes its images.
_PLACES = {
    "diffusers": ("model", "variant", "revision", "model_config", "adapter"),
    "stored": ("images",),
    "custom": (),
}


def _check_given(
    arguments: argparse.Namespace, source: str, recorded: Mapping[str, Any], given: Mapping[str, Any]
) -> None:
    """Raise ConfigError if a place would be opened because a run's folder names it, which may come from somebody else."""
    missing = {
        name: str(recorded[name]) for name in _PLACES[source] if recorded.get(name) and name not in given
    }
    if missing:
        flags = " ".join(
            f"--{name.replace('_', '-')} {shlex.quote(place)}" for name, place in missing.items()
        )
        what = "its images are" if source == "stored" else "its model is"
        raise ConfigError(
            f"{arguments.run} says where {what}, but nothing is opened because a run's folder names it, which may come from "
            f"somebody else: say it yourself ({flags}), or trust what it names (--trust-paths)"
        )


def read_configuration(arguments: argparse.Namespace, use: Use, existing: RunFolder | None) -> Config:
    """Return the Config of an existing run, the TOML file and the flags, each stronger than the one before."""
    from memcore.runs.config_file import from_mapping, read_toml

    recorded: dict[str, Any] = {}
    if existing is not None:
        recorded.update(existing.config.as_dict())
        for name in ("sampler", "sampler_options"):  # never taken from a run's folder, which others may write
            recorded.pop(name)
    given: dict[str, Any] = {}
    if arguments.config:
        told = read_toml(arguments.config)
        given.update({name.replace("-", "_"): value for name, value in told.items()})
        _tell_idle(arguments, told, use)
    flags = {field.name: getattr(arguments, field.name) for field in _fields(use)}
    given |= {name: value for name, value in flags.items() if value is not None}
    if existing is not None and "prompts" not in given:
        recorded["prompts"] = ""  # the run holds its prompts, and no list beside it is needed
    values = {**recorded, **given}
    if existing is not None and values.get("source") == "custom" and not values.get("sampler"):
        raise ConfigError(
            f"{arguments.run} samples with a program of yours, whose name is not taken from the folder: "
            "give --sampler module:attribute again"
        )
    source = "custom" if values.get("sampler") else "stored" if use == "stored" else "diffusers"
    if not arguments.trust_paths:
        _check_given(arguments, source, recorded, given)
    return from_mapping({**values, "source": source})
