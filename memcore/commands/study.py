"""``memcore study``: small models with planted truth, and what the paper says of them."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memcore.commands import _options
from memcore.commands._answer import DONE, INCOMPLETE, Answer
from memcore.commands._checks import check_positive, read_part
from memcore.commands._submit import submitted
from memcore.errors import ConfigError
from memcore.system.console import write_error
from memcore.system.units import count, format_hours, format_seconds

if TYPE_CHECKING:
    from memcore.study.plan import StudyPlan

NAME = "study"
HELP = "train many small models and attack them: what makes a model leak, and who was a member"
EXAMPLES = (
    "memcore study plan laptop",
    "memcore study run laptop STUDY",
    "memcore study report STUDY",
    "memcore study train FOLDER",
    "memcore study train FOLDER --model cascade",
)
_PROTOCOL_HELP = "a TOML file, or the name of a protocol that memcore ships: quick, laptop, full, cifar10, gan, gan-cifar10"
_STUDY_HELP = "the study's folder or URL"


def with_action(words: Sequence[str]) -> list[str]:
    """Return a command line with ``train`` put in where ``memcore study FOLDER`` names no action, as it once did.

    >>> with_action(["study", "FOLDER"]), with_action(["study", "plan", "quick"])
    (['study', 'train', 'FOLDER'], ['study', 'plan', 'quick'])
    """
    if list(words[:1]) != [NAME]:
        return list(words)
    rest = [word for word in words[1:] if word != "--json"]
    if not rest or rest[0] in (*_ACTIONS, "-h", "--help"):
        return list(words)
    return [NAME, "train", *words[1:]]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions, each with its own arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, help="what to do")
    for name, (help_, add, _) in _ACTIONS.items():
        own = actions.add_parser(name, help=help_, description=f"{help_[0].upper()}{help_[1:]}.")
        own.add_argument(
            "--json", action="store_true", default=argparse.SUPPRESS, help="print the answer as JSON"
        )
        add(own)


def run(arguments: argparse.Namespace) -> Answer:
    """Do what the action says."""
    _, _, act = _ACTIONS[arguments.action]
    return act(arguments)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("protocol", metavar="PROTOCOL", help=_PROTOCOL_HELP)
    parser.add_argument("study", metavar="STUDY", help=f"{_STUDY_HELP}; an existing study is resumed")
    group = parser.add_argument_group("workers", "They change how long a study takes, and no result.")
    group.add_argument("--workers", type=int, help="processes, each on one thread (default: one a processor)")
    group.add_argument("--quiet", action="store_true", help="show no progress")
    parser.add_argument(
        "--finished-in",
        metavar="STUDY",
        help="take over what another study has finished: models of the same factors, seed, data, checkpoints and attacks",
    )
    _add_data(parser)
    _options.add_launcher(parser, noun="model", run="study")
    parser.add_argument(
        "--allow-incomplete", action="store_true", help="exit with 0, not 5, where a model failed three times"
    )


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="where a data set of the protocol is, as cifar10=cifar-10-binary.tar.gz; may be repeated",
    )


def _read_paths(arguments: argparse.Namespace) -> dict[str, str]:
    paths = {}
    for text in arguments.data:
        name, separator, path = text.partition("=")
        if not (name and separator and path):
            raise ConfigError(f"data must look like NAME=PATH, got {text!r}")
        paths[name] = path
    return paths


def _run(arguments: argparse.Namespace) -> Answer:
    from memcore.study.run import run_study
    from memcore.study.status import status_lines, study_status

    arguments.run, arguments.threads = arguments.study, None
    if answer := submitted(arguments, "memcore study status"):
        return answer
    part = read_part(arguments.part)
    folder = run_study(
        arguments.protocol,
        arguments.study,
        workers=arguments.workers,
        paths=_read_paths(arguments),
        part=part,
        quiet=arguments.quiet,
        retry=arguments.retry,
        finished=arguments.finished_in,
        launcher=arguments.launcher,
        ray_address=arguments.ray_address,
    )
    result = study_status(folder)
    lines = status_lines(result)
    if result["complete"]:
        lines.append(f"memcore study report {shlex.quote(arguments.study)}: makes a page of its findings")
    failed = result["models_failed"] and not arguments.allow_incomplete
    lacking = bool(result["tables_missing"])
    return Answer(result, lines, INCOMPLETE if lacking or (failed and part is None) else DONE)


def _add_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("protocol", metavar="PROTOCOL", help=_PROTOCOL_HELP)
    parser.add_argument("--workers", type=int, help="processes (default: one a processor)")
    parser.add_argument(
        "--device", help="where to measure (default: where the protocol trains, as cpu or cuda)"
    )
    _add_data(parser)
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="to measure each kind of model for (default: %(default)s)"
    )


def _plan(arguments: argparse.Namespace) -> Answer:
    from memcore.study.plan import plan_study
    from memcore.study.protocols.read import read_protocol, with_paths
    from memcore.system.cpus import processors

    check_positive(arguments, "workers")
    if not 0 < arguments.seconds < 3600:
        raise ConfigError(f"seconds must be more than 0 and less than 3600, got {arguments.seconds}")
    protocol = with_paths(read_protocol(arguments.protocol), _read_paths(arguments))
    if arguments.device:
        protocol = dataclasses.replace(protocol, device=arguments.device)
    on_cpu = protocol.device == "cpu"
    plan = plan_study(
        protocol, workers=arguments.workers or (processors() if on_cpu else 1), seconds=arguments.seconds
    )
    return Answer(plan, plan_lines(plan))


def plan_lines(plan: StudyPlan) -> list[str]:
    """Return a plan in words."""
    lines = [
        f"{plan['protocol']}: {count(plan['models'], 'model')}, {plan['training_steps']:,} training steps, "
        f"{plan['samples']:,} samples",
        *(f"  {name}: {count(models, 'model')}" for name, models in plan["groups"].items()),
        "measured with one thread on this machine:",
    ]
    for kind in plan["kinds"]:
        shape = "x".join(map(str, kind["shape"]))
        lines.append(
            f"  {count(kind['models'], kind['model'] + ' model')} of {shape}, width {kind['width']}, depth {kind['depth']}, "
            f"{kind['parameters']:,} parameters: a step of {kind['batch']} images {format_seconds(kind['step_seconds'])}, "
            f"a pass of 64 {format_seconds(kind['pass_seconds'])}, in all {format_hours(kind['hours'])}"
        )
    return [
        *lines,
        f"work of one worker {format_hours(plan['worker_hours'])}; "
        f"{count(plan['workers'], 'worker')}: {format_hours(plan['hours'])}",
        "An extrapolation: all workers are taken to be as fast as one alone (on one CPU they share its memory).",
    ]


def _add_study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="STUDY", help=_STUDY_HELP)


def _status(arguments: argparse.Namespace) -> Answer:
    from memcore.study.folder import StudyFolder
    from memcore.study.status import status_lines, study_status

    result = study_status(StudyFolder.open(arguments.study))
    lacking = result["models_failed"] or result["tables_missing"]
    return Answer(result, status_lines(result), INCOMPLETE if lacking else DONE)


def _report(arguments: argparse.Namespace) -> Answer:
    from memcore.storage.open import is_url
    from memcore.study.findings.reading import Study
    from memcore.study.folder import StudyFolder
    from memcore.study.report.page import as_json, write_study_report

    if is_url(arguments.study):
        raise ConfigError(
            f"study must be a folder of this machine to write a page into, got {arguments.study}"
        )
    folder = StudyFolder.open(arguments.study)
    study = Study.of(folder)
    page = write_study_report(Path(arguments.study), study)
    result: dict[str, Any] = {"page": str(page), **as_json(study)}
    return Answer(result, [str(page)])


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, metavar="FOLDER", help="folder for the data and the model")
    parser.add_argument(
        "--model",
        choices=("demo", "cascade", "unclip"),
        default="demo",
        help="demo: the bundled one, of Stable Diffusion's classes; cascade: pixels in two stages, of DeepFloyd IF's, as "
        "Imagen; unclip: prior, decoder and upscalers, as DALL-E 2 (default: %(default)s)",
    )
    parser.add_argument(
        "--steps", type=int, help="training steps of each part (default: those of its recipe)"
    )


def _train(arguments: argparse.Namespace) -> Answer:
    check_positive(arguments, "steps")
    if arguments.model == "demo":
        from memcore.study.tiny_sd import build

        options = {} if arguments.steps is None else {"steps": arguments.steps}
        build(arguments.out, progress=lambda line: write_error(line), **options)
    else:
        from memcore.study.planted.build import build as build_planted

        build_planted(arguments.model, arguments.out, steps=arguments.steps, say=write_error)
    return Answer({"folder": str(arguments.out)}, [str(arguments.out)])


_Act = tuple[str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], Answer]]
#: Each action: what ``--help`` says, its arguments, and what it does.
_ACTIONS: dict[str, _Act] = {
    "run": ("train and attack the models of a protocol", _add_run, _run),
    "plan": ("estimate the hours of a protocol, from a few steps of each kind of model", _add_plan, _plan),
    "status": ("say how far a study is, from its folder alone, on any machine", _add_study, _status),
    "report": ("write a page of a study's findings", _add_study, _report),
    "train": (
        "train the bundled model again, or a cascade or unCLIP, with planted duplicates",
        _add_train,
        _train,
    ),
}
