"""``memcore audit`` and ``memcore filter``: a run's flags, its configuration, and what is said of it at the end."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memcore.commands.index import AddCommand, Print
from memcore.errors import ConfigError

_DONE, _FAILED = 0, 1

#: Flags of a run's configuration: name, type, unit and meaning. The names are those of the TOML file.
SAMPLING_FLAGS: list[tuple[str, type, str]] = [
    ("model", str, "folder or name of a diffusers pipeline"),
    ("sampler", str, "module:attribute of a Python sampler, instead of a model"),
    ("sampler_options", str, "JSON object to make it with; env:NAME takes a value from the environment"),
    ("prompts", str, "text file, one prompt a line, or Parquet with a column prompt or caption"),
    ("generations", int, "images a prompt; with budget sequential the most"),
    ("budget", str, "fixed, or sequential: stop a prompt once it is decided"),
    ("copy_rate", float, "for sequential: the smallest share of copies that must be found"),
    ("miss_rate", float, "for sequential: the part of such prompts that may be given up"),
    ("screen", str, "none, or score prompts by one step: noise_magnitude, one_step"),
    (
        "screen_threshold",
        float,
        "prompts with a lower score are not sampled; 0: all are, scores are recorded",
    ),
    ("screen_seeds", int, "images a prompt that the screen looks at"),
    ("screen_guidance", float, "guidance of the screen"),
    ("seed", int, "the run's seed; each image's seed is a hash of it, the prompt's number and the image's"),
    ("steps", int, "denoising steps; no default, since they change the images"),
    ("guidance_scale", float, "classifier-free guidance; no default where the pipeline takes it"),
    ("height", int, "pixels; 0: the pipeline's own"),
    ("width", int, "pixels; 0: the pipeline's own"),
    ("dtype", str, "float32, float16 or bfloat16"),
    ("device", str, "cpu or cuda"),
]
STORED_FLAGS: list[tuple[str, type, str]] = [
    (
        "background",
        str,
        "colour, as #ffffff, that transparent pixels stand on; without it they are quarantined",
    ),
]
GRAPH_FLAGS: list[tuple[str, type, str]] = [
    ("batch_size", int, "images at a time"),
    ("threshold", float, "tiled l2 of an edge, in [0, 1]"),
    ("min_clique", int, "generations that make a finding"),
    ("node_limit", int, "branch-and-bound nodes a clique search may use"),
    ("edges_up_to", float, "store pairs up to this distance, for memcore evaluate's sweep; 0: none"),
    ("keep", str, "images to store: findings or all"),
    (
        "shard_prompts",
        int,
        "prompts a shard, each a few files; 0: 64 shards or more, of 1000 prompts at most",
    ),
]


def register(commands: Any, add: AddCommand, show: Print) -> None:
    """Adds both commands."""
    audit = add(
        commands, "audit", "sample a model, build graphs, find cliques", lambda given: _audit(given, show)
    )
    audit.add_argument("run", metavar="RUN", help="the run's folder or URL; one that exists is gone on with")
    _configuration(audit, SAMPLING_FLAGS + GRAPH_FLAGS)
    add_workers(audit)
    _parts(audit)

    stored = add(commands, "filter", "the same over stored generations", lambda given: _filter(given, show))
    stored.add_argument("run", metavar="RUN", help="the run's folder or URL; one that exists is gone on with")
    stored.add_argument(
        "--images",
        help="folder with a folder of images or an .npy a prompt, .npy file, tars or Parquet files",
    )
    _configuration(stored, STORED_FLAGS + GRAPH_FLAGS)
    add_workers(stored)
    _parts(stored)


def _configuration(parser: argparse.ArgumentParser, flags: Sequence[tuple[str, type, str]]) -> None:
    import dataclasses

    from memcore.runs.config import Config

    defaults = {field.name: field.default for field in dataclasses.fields(Config)}
    parser.add_argument("--config", type=Path, help="TOML file with the same names as these flags; flags win")
    for name, kind, text in flags:
        default = defaults[name]
        shown = "" if default in ("", 0, None) else f" (default: {default})"
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, type=kind, help=text + shown)
    parser.add_argument("--grid", type=int, nargs=2, metavar=("ROWS", "COLUMNS"), help="tiles (default: 4 4)")


def add_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, help="processes (default: one a processor; on a GPU one)")
    parser.add_argument("--threads", type=int, help="threads a worker (default: the processors shared out)")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def _parts(parser: argparse.ArgumentParser) -> None:
    from memcore.commands.launch import add_launch_flags

    add_launch_flags(parser)
    parser.add_argument("--part", metavar="K/N", help="do only the K-th of N parts of the run")
    parser.add_argument(
        "--retry", action="store_true", help="do shards again that failed three times and were put aside"
    )


def _config(arguments: argparse.Namespace, source: str, flags: Sequence[tuple[str, type, str]]) -> Any:
    """Configuration from the run that exists, the TOML file, and the flags, each stronger than the one before."""
    from memcore.runs.config import from_mapping, read_toml
    from memcore.runs.folder import RunFolder
    from memcore.storage.open import open_storage

    names = [name for name, _, _ in flags] + ["grid", "images"]
    values: dict[str, Any] = {}
    started = open_storage(arguments.run).exists("run.toml")
    if started:
        values.update(RunFolder.open(arguments.run).config.as_dict())
        values.pop("sampler")  # code to run is never taken from a run's folder, which others may write
    if arguments.config:
        values.update(read_toml(arguments.config))
    given = {n: getattr(arguments, n) for n in names if getattr(arguments, n, None) is not None}
    values |= given
    if started and values.get("source") == "custom" and not values.get("sampler"):
        raise ConfigError(
            f"{arguments.run} samples with a program of yours, whose name is not taken from the folder: "
            "give --sampler module:attribute again"
        )
    return from_mapping({**values, "source": "custom" if values.get("sampler") else source})


def _part(arguments: argparse.Namespace) -> tuple[int, int] | None:
    if arguments.part is None:
        return None
    try:
        k, n = (int(v) for v in arguments.part.split("/"))
    except ValueError:
        raise ConfigError(f"part must look like 1/2, got {arguments.part!r}") from None
    if not 1 <= k <= n:
        raise ConfigError(f"part must look like 1/2 with 1 <= K <= N, got {arguments.part!r}")
    return k, n


def check_positive(arguments: argparse.Namespace, *names: str) -> None:
    for name in names:
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}")


def _run_lines(result: dict[str, Any]) -> list[str]:
    lines = [
        f"{result['done']} of {result['prompts']} prompts, {result['generated']} images: "
        f"{result['candidates']} prompts with a clique"
    ]
    if result["screened"]:
        lines.append(
            f"{result['screened']} prompts were screened out: not sampled, their first step scored too low"
        )
    early = {name: count for name, count in result["stops"].items() if name not in ("all", "screened")}
    if early:
        lines.append("stopped early: " + ", ".join(f"{count} {name}" for name, count in early.items()))
    if result["excluded"]:
        lines.append(f"{result['excluded']} black or constant images were left out")
    if result["quarantined"]:
        lines.append(f"{result['quarantined']} entries were quarantined (see {result['run']}/quarantine)")
    if result["failed"]:
        lines.append(f"{result['failed']} prompts failed")
    if result["shards_given_up"]:
        lines.append(
            f"{result['shards_given_up']} shards failed three times and were put aside; --retry does them again"
        )
    return lines


def _submitted(arguments: argparse.Namespace, show: Print) -> bool:
    """Whether the run was given to SLURM, which does it elsewhere and later."""
    from memcore.commands.launch import check_launch_flags, submit_array

    check_positive(arguments, "workers", "threads", "tasks")
    check_launch_flags(arguments)
    if arguments.launcher != "slurm":
        return False
    told = submit_array(arguments, arguments.argv)
    follow = f"memcore status {shlex.quote(str(arguments.run))} shows how far it is"
    show(arguments, dict(told), [f"job {told['job']} submitted ({told['script']}); {follow}"])
    return True


def _audit(arguments: argparse.Namespace, show: Print) -> int:
    from memcore.audit.run_audit import audit
    from memcore.runs.summary import summary

    config = _config(arguments, "diffusers", SAMPLING_FLAGS + GRAPH_FLAGS)
    if _submitted(arguments, show):
        return _DONE
    folder = audit(
        arguments.run,
        config,
        workers=arguments.workers,
        threads=arguments.threads,
        part=_part(arguments),
        quiet=arguments.quiet,
        retry=arguments.retry,
        launcher=arguments.launcher,
        ray_address=arguments.ray_address,
    )
    result = summary(folder)
    show(arguments, result, _run_lines(result))
    return _FAILED if result["failed"] else _DONE


def _filter(arguments: argparse.Namespace, show: Print) -> int:
    from memcore.audit.run_audit import filter_stored
    from memcore.runs.summary import summary

    check_positive(arguments, "workers", "threads")
    folder = filter_stored(
        arguments.run,
        _config(arguments, "stored", STORED_FLAGS + GRAPH_FLAGS),
        workers=arguments.workers,
        threads=arguments.threads,
        part=_part(arguments),
        quiet=arguments.quiet,
        retry=arguments.retry,
        launcher=arguments.launcher,
        ray_address=arguments.ray_address,
    )
    result = summary(folder)
    show(arguments, result, _run_lines(result))
    return _FAILED if result["failed"] else _DONE
