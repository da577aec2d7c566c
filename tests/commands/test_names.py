"""Names on the command line: no abbreviations, choices in the help, and the nearest right one for a wrong one."""

from __future__ import annotations

import argparse
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from memcore import bench, isa
from memcore.bench import gpu as bench_gpu
from memcore.cli import COMMANDS, build_parser, main
from memcore.duplicates.embeddings import ENGINES
from memcore.engine import launchers
from memcore.images.resize import METHODS
from memcore.runs.config import BUDGETS, DTYPES, KEEP, SCREENS, Config
from memcore.runs.options import declared
from memcore.system.suggestions import nearest

#: Flags whose values are a finite set, and that set as the rest of memcore knows it.
CHOICES: dict[str, tuple[str, ...]] = {
    "--budget": BUDGETS,
    "--screen": SCREENS,
    "--dtype": DTYPES,
    "--keep": KEEP,
    "--launcher": launchers.names(),
    "--distance": ("l2", "tiled_l2"),
    "--kind": ("images", "arrays", "tars", "parquet"),
    "--engine": ENGINES,
    "--resize-method": METHODS,
    "--resize-fit": ("crop", "stretch"),
    "--against": ("matches", "annotations"),
    "--isa": isa.available(),
}


@functools.cache
def parsers() -> dict[str, argparse.ArgumentParser]:
    (commands,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(commands.choices)


def flags() -> Iterator[tuple[str, str]]:
    for name, parser in parsers().items():
        for flag in parser._option_string_actions:
            if flag.startswith("--"):
                yield name, flag


def error_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err.splitlines()[-1]


def test_the_list_is_what_is_parsed() -> None:
    assert list(parsers()) == [command.NAME for command in COMMANDS]


def test_no_parser_takes_abbreviations() -> None:
    assert not build_parser().allow_abbrev
    for name, parser in parsers().items():
        assert not parser.allow_abbrev, name


@pytest.mark.parametrize(("command", "flag"), list(flags()))
def test_a_flag_with_a_letter_dropped_is_answered_with_the_right_one(
    command: str,
    flag: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    known = parsers()[command]._option_string_actions
    for k in range(2, len(flag)):
        wrong = flag[:k] + flag[k + 1 :]
        if wrong in known or wrong == "--":
            continue
        said = error_of([command, "run", f"{wrong}=1"], capsys).replace(
            f"memcore {command} run:", f"memcore {command}:"
        )
        first = f"memcore {command}: error: unknown flag {wrong}; did you mean {flag}"
        assert said.startswith((f"{first}?", f"{first} or --", f"{first}, --")), said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("command", "flag"), list(flags()))
def test_an_abbreviated_flag_is_refused(command: str, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    known = parsers()[command]._option_string_actions
    for end in range(4, len(flag)):
        if flag[:end] not in known:
            assert f"unknown flag {flag[:end]}; did you mean --" in error_of(
                [command, "run", flag[:end]], capsys
            )


@pytest.mark.parametrize("command", [command.NAME for command in COMMANDS])
def test_a_command_with_a_letter_dropped_is_answered_with_the_right_one(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for k in range(len(command)):
        wrong = command[:k] + command[k + 1 :]
        said = error_of([wrong, "run"], capsys)
        assert f"invalid choice: {wrong!r}; did you mean {command!r}? (choose from 'demo', " in said


def test_a_flag_like_none_is_answered_with_all(capsys: pytest.CaptureFixture[str]) -> None:
    said = error_of(["status", "run", "--xyzzy", "4"], capsys)
    assert (
        said
        == "memcore status: error: unknown flag --xyzzy; memcore status takes --allow-incomplete, --help, --index, --json, "
        "--training, --truth"
    )
    assert (
        error_of(["--xyzzy"], capsys)
        == "memcore: error: unknown flag --xyzzy; memcore takes --help, --version"
    )


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["audit", "run", "-threshold", "0.1"], "--threshold"),
        (["audit", "run", "--copy_rate", "0.1"], "--copy-rate"),
        (["match", "run"], None),
        (["audit", "run", "--treshold", "0.1", "--seed"], "--threshold"),
    ],
)
def test_a_misspelt_flag_is_named_before_anything_that_is_missing(
    words: list[str], near: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    said = error_of(words, capsys)
    assert (f"did you mean {near}?" in said) if near else ("is required" in said)


def test_a_value_may_look_like_a_flag_and_all_after_two_dashes_are_values(
    capsys: pytest.CaptureFixture[str],
) -> None:
    read = build_parser().parse_args(["audit", "--sbatch=--tyme=1", "--seed", "-1", "--", "--folder"])
    assert (read.sbatch, read.seed, read.run) == (["--tyme=1"], -1, "--folder")


def test_an_arrays_own_command_is_not_broken_by_an_abbreviation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--task 4`` was taken for ``--tasks 4``, but was not removed from the command that each task runs."""
    words = ["audit", str(tmp_path / "run"), "--sampler", "tests.support.synthetic:SyntheticSampler"]
    said = error_of([*words, "--launcher", "slurm", "--task", "4"], capsys)
    assert "unknown flag --task; did you mean --tasks?" in said
    assert "unknown flag --launch; did you mean --launcher?" in error_of(
        [*words, "--launch", "slurm"], capsys
    )
    assert list(tmp_path.iterdir()) == []


def test_every_finite_set_stands_in_the_help() -> None:
    seen = set()
    for name, parser in parsers().items():
        for action in parser._actions:
            for flag in set(action.option_strings) & CHOICES.keys():
                seen.add(flag)
                assert tuple(action.choices or ()) == CHOICES[flag], (name, flag)
                assert f"{flag} {{{','.join(CHOICES[flag])}}}" in parser.format_help()
    assert seen == CHOICES.keys()


def test_the_parts_of_the_benchmark_stand_in_the_help() -> None:
    (part,) = (a for a in parsers()["bench"]._actions if a.dest == "part")
    assert tuple(part.choices or ()) == bench.PARTS
    assert set(bench_gpu.PARTS) <= set(bench.PARTS)


@pytest.mark.parametrize(("command", "use"), [("audit", "sampled"), ("filter", "stored")])
def test_flags_are_generated_from_the_configuration(command: str, use: str) -> None:
    actions = parsers()[command]._option_string_actions
    for field in declared(Config).values():
        assert (field.flag in actions) == (field.option.use in (use, "both")), field.name
        if field.flag in actions:
            action = actions[field.flag]
            assert tuple(action.choices or ()) == field.choices
            assert action.dest == field.name
            assert (
                action.default is None
            )  # the Config has the default: a flag that is not given changes nothing
            assert action.type is field.kind or field.choices
            assert action.help


def test_a_wrong_value_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    said = error_of(["audit", "run", "--budget", "sequental"], capsys)
    assert (
        "invalid choice: 'sequental'; did you mean 'sequential'? (choose from 'fixed', 'sequential')" in said
    )


@pytest.mark.parametrize(
    ("word", "known", "near"),
    [
        ("--gen", ["--generations", "--grid", "--gpu"], ["--generations"]),
        ("--screen-", ["--screen-threshold", "--screen", "--screen-seeds"], ["--screen", "--screen-seeds"]),
        ("--setps", ["--steps", "--seed"], ["--steps"]),
        ("--stepz", ["--steps", "--seed"], ["--steps"]),
        ("--stepss", ["--steps", "--seed"], ["--steps"]),
        ("--treshhold", ["--steps", "--threshold"], ["--threshold"]),
        ("--xyzzy", ["--seed"], []),
        ("", ["seed"], []),
        ("s", ["seed", "steps"], []),
    ],
)
def test_nearest(word: str, known: list[str], near: list[str]) -> None:
    assert nearest(word, known)[: len(near) or None] == near


def test_both_ways_to_start_it_are_the_same(tmp_path: Path) -> None:
    said = [
        subprocess.run([sys.executable, "-m", name, "status", "--help"], capture_output=True, check=True)
        for name in ("memcore", "memcore.cli")
    ]
    assert said[0].stdout == said[1].stdout
    assert said[0].stdout.startswith(b"usage: memcore status")
