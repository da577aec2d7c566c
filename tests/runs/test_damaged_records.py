"""Damaged files of a run and an index that still parse: every command says so in a line, never with a traceback."""

from __future__ import annotations

import copy
import json
import shutil
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tomli_w

from memcore.storage.digests import SEAL, seal
from tests.support.command_line import encoded, filter_images, index, memcore, noise, png, write_copies
from tests.support.sealing import change_json, change_toml

#: How many damages of each file are tried: there are thousands.
TRIED = 25
DEEP = b"[" * 100_000
WRONG: tuple[Any, ...] = (None, "x", -1, 10**400, 1.5, True, [], {}, [[]], {"a": 1}, float("nan"))


class Made(NamedTuple):
    run: Path
    index: Path
    train: Path
    truth: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("made")
    images = write_copies(root / "images", noise(1)[0])
    (images / "noise").mkdir()
    train = root / "train"
    train.mkdir()
    for i in range(12):
        (images / "noise" / f"{i}.png").write_bytes(png(100 + i))
    for i in range(3):
        (train / f"{i}.png").write_bytes(encoded(noise(3)[i]))
    (train / "0.txt").write_text("a fox")
    entries = [
        {"prompt": "a fox", "kind": "x", "copies": 5, "expected": True, "training_images": [0]},
        {"prompt": "noise", "kind": "y", "copies": 0, "expected": False, "training_images": []},
    ]
    truth = root / "truth.json"
    truth.write_text(json.dumps({"format": 1, "prompts": entries}))
    assert filter_images(root / "run", images).said.code == 0
    assert index(root / "index", train, "--shard-images", 2).said.code == 0
    assert memcore("match", root / "run", "--index", root / "index", "--source", train).code == 0
    assert memcore("evaluate", root / "run", "--truth", truth).code == 0
    return Made(root / "run", root / "index", train, truth)


def _paths(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield before
    inner = (
        value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    )
    for key, held in inner:
        yield from _paths(held, (*before, key))


def _with(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return the value with another one at a path; without the one there, where ``new`` is Ellipsis."""
    if not path:
        return new
    value = copy.deepcopy(value)
    within = value
    for key in path[:-1]:
        within = within[key]
    if new is ...:
        del within[path[-1]]
    else:
        within[path[-1]] = new
    return value


def damages(data: bytes, suffix: str, rng: np.random.Generator) -> Iterator[bytes]:
    value = tomllib.loads(data.decode()) if suffix == ".toml" else json.loads(data)
    yield (b"a = " if suffix == ".toml" else b"") + DEEP
    every = [(path, new) for path in _paths(value) for new in (*WRONG, ...) if path or new is not ...]
    for at in rng.permutation(len(every))[:TRIED]:
        damaged = _with(value, *every[at])
        try:
            if isinstance(damaged, dict) and SEAL in damaged:
                damaged = seal(damaged)  # as of a file that was written so, or changed with malice
            yield (tomli_w.dumps(damaged) if suffix == ".toml" else json.dumps(damaged)).encode()
        except (TypeError, AttributeError):  # TOML has no null
            continue


FILES: dict[str, tuple[Callable[[Made], Path], tuple[Callable[[Made], tuple[Any, ...]], ...]]] = {
    "evaluation.json": (
        lambda m: m.run / "evaluation.json",
        (lambda m: ("report", m.run),),
    ),
    "match.json": (
        lambda m: m.run / "match.json",
        (lambda m: ("report", m.run), lambda m: ("status", m.run)),
    ),
    "manifest": (
        lambda m: sorted((m.run / "manifest").iterdir())[0],
        (lambda m: ("report", m.run), lambda m: ("status", m.run)),
    ),
    "run.toml": (
        lambda m: m.run / "run.toml",
        (
            lambda m: ("report", m.run),
            lambda m: ("status", m.run),
            lambda m: ("match", m.run, "--training", m.train),
            lambda m: ("evaluate", m.run, "--truth", m.truth),
        ),
    ),
    "index.json": (
        lambda m: m.index / "index.json",
        (
            lambda m: ("match", m.run, "--index", m.index, "--source", m.train),
            lambda m: ("index", m.index, "--source", m.train, "--quiet", "--shard-images", 2),
        ),
    ),
    "shard.json": (
        lambda m: m.index / "shard-000000" / "shard.json",
        (lambda m: ("match", m.run, "--index", m.index, "--source", m.train),),
    ),
    "truth.json": (lambda m: m.truth, (lambda m: ("evaluate", m.run, "--truth", m.truth),)),
}


@pytest.mark.parametrize("name", FILES)
def test_it_is_told(made: Made, tmp_path: Path, name: str) -> None:
    find, commands = FILES[name]
    rng = np.random.default_rng(1)
    data = find(made).read_bytes()
    told = 0
    for number, damaged in enumerate(damages(data, find(made).suffix, rng)):
        here = Made(
            *(tmp_path / str(number) / held for held in ("run", "index", "train", "truth.json"))
        )._replace(train=made.train)
        shutil.copytree(made.run, here.run)
        shutil.copytree(made.index, here.index)
        shutil.copy(made.truth, here.truth)
        find(here).write_bytes(damaged)
        for command in commands:
            said = memcore(*command(here))
            assert said.code in (0, 1, 2, 5), said
            assert said.code in (0, 5) or said.err.startswith("memcore: "), said
            told += said.code in (1, 2)
        shutil.rmtree(tmp_path / str(number))
    assert told


STORED = Path(__file__).parents[1] / "data" / "format-3" / "finished"

#: What is wrong with run.toml, and what is said of it.
FORGED: dict[str, tuple[tuple[tuple[str, str], ...], str]] = {
    "screen": ((("[screen]", '[screen]\nscore = "x"\nthreshold = 1.0'),), "[screen].score is 'x'"),
    "condition": ((("[prompts]", '[prompts]\nconditions = ["../x"]'),), "[prompts].conditions has '../x'"),
    "threshold": ((("threshold = 0.15", "threshold = -1e308"),), "threshold"),
    "prompts": (
        (("count = 7", "count = 1000000000"), ("shard_prompts = 3", "shard_prompts = 1")),
        "run.toml speaks of 1,000,000,000 prompts in shards of 1",
    ),
}


@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_run_toml_is_told(tmp_path: Path, forged: str) -> None:
    changes, says = FORGED[forged]
    run = tmp_path / "run"
    shutil.copytree(STORED, run)
    for old, new in changes:
        change_toml(run, old, new)
    for command in ("status", "show", "report"):
        said = memcore(command, run)
        if said.code == 0 and command == "report":
            continue  # which needs no list of shards
        assert said.code == 2, said
        assert said.err.startswith(f"memcore: {run}/run.toml"), said
        assert says in said.err


def test_a_forged_resize_is_told(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(STORED, run)
    change_json(run / "match.json", lambda record: record.update(resize={"height": 4}))
    said = memcore("report", run)
    assert said.code == 2
    assert "match.json is damaged: it.resize has no 'width'; give memcore match again" in said.err


def test_annotations_that_cannot_be_used_are_named_once(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(STORED, run)
    (run / "annotations.sqlite").unlink()
    (run / "annotations.sqlite").mkdir()
    said = memcore("annotate", run, "--agreement")
    assert said.code == 2
    assert said.err.startswith(f"memcore: {run}/annotations.sqlite cannot be used"), said
