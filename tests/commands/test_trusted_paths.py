"""A run and an index may come from somebody else: no place is opened, and no code imported, because they name it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from memcore.audit import audit, run_audit
from memcore.runs.config import Config
from memcore.runs.start import RunStart
from tests.support import inline_pool
from tests.support.command_line import Said, encoded, filter_images, index, memcore, near, noise, write_copies
from tests.support.index_sets import write_meta
from tests.support.opened import below, opened
from tests.support.sealing import change_toml
from tests.support.synthetic import PROMPTS, SyntheticSampler

SAMPLER = "tests.support.synthetic:SyntheticSampler"


class Place(NamedTuple):
    """A run and an index of somebody else, what is one's own, and what both name outside of their folders."""

    run: Path
    index: Path
    own: Path
    secret: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    images = write_copies(root / "images", noise(1)[0])
    train = root / "train"
    train.mkdir()
    for i, pixels in enumerate([near(noise(1)[0], 5), near(noise(1)[0], 6), *noise(2, 3)]):
        (train / f"{i}.png").write_bytes(encoded(pixels))
        (train / f"{i}.txt").write_text("a fox")
    assert filter_images(root / "run", images).said.code == 0
    assert index(root / "index", train).said.code == 0
    assert memcore("match", root / "run", "--training", train).code == 0
    return root


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Let the run and the index name the folder ``secret``, with sound seals; a module lies in the run, and in it we are."""
    monkeypatch.setattr(run_audit, "make_pool", inline_pool.make_pool)
    found = Place(*(tmp_path / name for name in ("run", "index", "own", "secret")))
    shutil.copytree(made / "run", found.run)
    shutil.copytree(made / "index", found.index)
    shutil.copytree(made / "train", found.own / "train")
    shutil.copytree(made / "images", found.own / "images")
    shutil.copytree(made / "train", found.secret / "train")
    shutil.copytree(made / "images", found.secret / "images")
    (found.run / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    change_toml(found.run, f'images = "{made / "images"}"', f'images = "{found.secret / "images"}"')
    change_toml(found.run, 'sampler = ""', 'sampler = "evil:make"')
    meta = json.loads((found.index / "index.json").read_text())
    meta["sources"][0]["path"] = str(found.secret / "train")
    write_meta(found.index, meta)
    before = list(sys.path)
    monkeypatch.chdir(found.run)
    yield found
    sys.path[:] = before
    assert "evil" not in sys.modules
    assert not (tmp_path / "ran").exists()


def told(place: Place, *words: str | Path) -> tuple[Said, list[str]]:
    """Return what a command says, and what it opened of what is secret."""
    with opened() as seen:
        said = memcore(*words)
    assert below(place.run, seen) or below(place.index, seen), "nothing was seen to be opened"
    return said, below(place.secret, seen)


@pytest.mark.parametrize(
    "words",
    [
        ("status", "RUN"),
        ("status", "RUN", "--training", "OWN/train"),
        ("status", "RUN", "--json"),
        ("show", "RUN"),
        ("show", "RUN", "matches"),
        ("show", "RUN", "quarantine"),
        ("match", "RUN", "--training", "OWN/train"),
        ("match", "RUN", "--index", "INDEX", "--source", "OWN/train"),
        ("prompts", "OWN/p.parquet", "--index", "INDEX", "--source", "OWN/train"),
        ("evaluate", "RUN", "--against", "matches"),
        ("report", "RUN", "--compare", "RUN"),
        ("index", "INDEX", "--verify"),
        ("filter", "RUN", "--images", "OWN/images", "--quiet", "--workers", "1"),
    ],
    ids=" ".join,
)
def test_nothing_that_a_folder_names_is_opened(place: Place, words: tuple[str, ...]) -> None:
    """Each command does its work with what is given to it."""
    names = {"RUN": place.run, "INDEX": place.index, "OWN": place.own}
    for word, folder in names.items():
        words = tuple(w.replace(word, str(folder)) for w in words)
    said, secret = told(place, *words)
    assert (said.code, secret) == (0, []), said


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (("filter", "RUN", "--quiet", "--workers", "1"), "--images SECRET/images"),
        (("match", "RUN", "--index", "INDEX"), "--source SECRET/train"),
        (("prompts", "OWN/p.parquet", "--index", "INDEX"), "--source SECRET/train"),
    ],
    ids=["filter", "match", "prompts"],
)
def test_what_it_names_has_to_be_given_or_trusted(place: Place, words: tuple[str, ...], remedy: str) -> None:
    names = {"RUN": place.run, "INDEX": place.index, "OWN": place.own}
    for word, folder in names.items():
        words = tuple(w.replace(word, str(folder)) for w in words)
    said, secret = told(place, *words)
    assert (said.code, secret) == (2, []), said
    assert remedy.replace("SECRET", str(place.secret)) in said.err
    assert "may come from somebody else" in said.err
    said, secret = told(place, *words, "--trust-paths")
    assert said.code == 0, said
    assert secret  # so that it would have been seen above


def test_the_other_source_of_an_index_has_to_be_given_too(place: Place) -> None:
    np.save(place.own / "more.npy", noise(3, 9))
    assert memcore("index", place.index, "--source", place.own / "more.npy", "--quiet").code == 0
    given = ("--source", place.own / "more.npy")
    said, secret = told(place, "match", place.run, "--index", place.index, *given)
    assert (said.code, secret) == (2, []), said
    assert f"give the place of the files that were in {place.secret / 'train'} too" in said.err
    both = (*given, "--source", place.own / "train")
    said, secret = told(place, "match", place.run, "--index", place.index, *both)
    assert (said.code, secret) == (0, []), said


def test_captions_that_an_index_names_are_not_read(place: Place) -> None:
    """Neither for a match nor when the index is resumed."""
    (place.secret / "passwd.txt").write_text("a fox\na hill\na door\n")
    np.save(place.own / "more.npy", noise(3, 9))
    words = ("index", place.index, "--source", place.own / "more.npy", "--quiet")
    assert memcore(*words, "--captions", place.secret / "passwd.txt").code == 0
    sources = ("--source", place.own / "more.npy", "--source", place.own / "train")
    for command in (("match", place.run, "--index", place.index, *sources), words):
        said, secret = told(place, *command)
        assert secret == [], said
    meta = json.loads((place.index / "index.json").read_text())
    for name in ("images", "shards", "quarantined", "made", "coverage"):
        del meta["sources"][-1][name]
    write_meta(place.index, meta)
    said, secret = told(place, *words)
    assert secret == [], said


def make_run(run: Path, **changes: str) -> None:
    """Make a run of a model that is only named."""
    config = Config(source="diffusers", steps=1, **changes)  # type: ignore[arg-type]
    RunStart(run, config, PROMPTS).create("", {})


@pytest.mark.parametrize(
    ("named", "given", "missing"),
    [
        ({"model": "/somewhere"}, (), "--model /somewhere"),
        ({"model": "a/b", "revision": "refs/pr/1"}, ("--model", "a/b"), "--revision refs/pr/1"),
        ({"model": "a", "variant": "x"}, (), "--model a --variant x"),
    ],
)
def test_a_model_is_given_again(
    tmp_path: Path, named: dict[str, str], given: tuple[str, ...], missing: str
) -> None:
    """Whoever loads a model may run what is in it."""
    make_run(tmp_path / "run", **named)
    said = memcore("audit", tmp_path / "run", "--quiet", *given)
    assert said.code == 2
    assert f"say it yourself ({missing}), or trust what it names (--trust-paths)" in said.err
    # nothing is loaded, since the configuration is another one
    words = ("audit", tmp_path / "run", "--quiet", "--generations", 7)
    for whole in ((*given, *missing.split()), ("--trust-paths",)):
        assert "generations: 500 -> 7" in memcore(*words, *whole).err
    (tmp_path / "audit.toml").write_text("".join(f'{name} = "{value}"\n' for name, value in named.items()))
    assert "generations: 500 -> 7" in memcore(*words, "--config", tmp_path / "audit.toml").err


def test_a_run_is_resumed_with_its_own_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list that it was made of is neither needed nor read."""
    monkeypatch.setattr(run_audit, "make_pool", inline_pool.make_pool)
    run, listed = tmp_path / "run", tmp_path / "prompts.txt"
    listed.write_text("a red fox\na door\n")
    words = ("audit", run, "--sampler", SAMPLER, "--workers", "1", "--quiet", "--allow-incomplete")
    assert memcore(*words, "--prompts", listed, "--generations", 12).code == 0
    listed.write_text("something else\n")
    with opened() as seen:
        assert memcore(*words).code == 0
    assert below(listed, seen) == []
    assert memcore(*words, "--prompts", listed).code == 2


def test_what_needs_an_index_says_so(made: Path) -> None:
    for words in (
        ("match", made / "run", "--training", made / "train", "--trust-paths"),
        ("prompts", made / "p.parquet", "--embeddings", made / "e.npy", "--trust-paths"),
    ):
        said = memcore(*words)
        assert (said.code, "give it with --index" in said.err) == (2, True), said


def test_a_program_hands_in_its_own_configuration(tmp_path: Path) -> None:
    """What the function is called with is the caller's choice."""
    config = Config(source="custom", generations=12, batch_size=12)
    run = audit(tmp_path / "run", config, sampler=SyntheticSampler(), prompts=PROMPTS[:1], quiet=True)
    assert audit(run, run.config, sampler=SyntheticSampler(), prompts=run.prompts, quiet=True).done()
