"""Everything that reads a run or an index, each as one function of a place that holds them: for ``tests.support.flips``."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import logging
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from PIL import Image

from memcore.annotate.gallery import Gallery
from memcore.audit import audit, journal
from memcore.errors import MemcoreError
from memcore.index import build_index, layout, open_source
from memcore.runs.annotations import ANNOTATORS, Annotations
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder
from tests.support.command_line import memcore
from tests.support.stored_runs import CONFIG, Interrupted, make_finished
from tests.support.synthetic import PROMPTS, SyntheticSampler, training_image

#: Of a manifest, what differs from one time to the next, and what follows from that.
_VOLATILE = ("started", "finished", "writer", "seconds", "seal")


#: Of the answers of status, what passes with the time.
_PASSING = re.compile(r'("(?:images_a_second|(?:started|written|silent)_seconds|seconds_left)"): [^,\n]*')

#: Of the stopped run: a prompt takes several batches, so that some of its images are in flight.
STOPPED = dataclasses.replace(CONFIG, generations=40, budget="fixed")


@dataclasses.dataclass(frozen=True)
class Place:
    """A finished run and index, a stopped run and a begun index, and what they were made of."""

    root: Path
    run: Path
    index: Path
    stopped: Path
    begun: Path
    train: Path


class Answer(NamedTuple):
    """What a reader answers: its exit code, all that it says, and the part of it that is of the run."""

    code: int
    said: str
    content: Any = None


@dataclasses.dataclass(frozen=True)
class Reader:
    """A reader, and which files of the place it may change.

    ``changing`` are those that differ each time; ``telling`` say what was noticed; ``removes`` are gone before it refuses.
    """

    read: Callable[[Place], Answer]
    changing: tuple[str, ...] = ()
    telling: tuple[str, ...] = ()
    removes: tuple[str, ...] = ()


def normal(name: str, data: bytes) -> Any:
    """Return what has to be the same of a file's content: of a manifest neither times nor the digest of its quarantine."""
    if "/manifest/" in name:
        with contextlib.suppress(ValueError):
            record = json.loads(data)
            for key in _VOLATILE:
                record.pop(key, None)
            files = record.get("files", {})
            record["files"] = {n: digest for n, digest in files.items() if n.startswith("findings/")}
            return json.dumps(record, sort_keys=True)
    return data


def make_place(root: Path) -> Place:
    """Make a small run and index with a file of every kind."""
    place = Place(root, *(root / name for name in ("run", "index", "stopped", "begun", "train")))
    with contextlib.chdir(root):
        make_finished(place.run, root)
    assert memcore("report", place.run).code in (0, 5)
    _stop(place.stopped)
    place.train.mkdir()
    for i, pixels in enumerate([*np.load(root / "train.npy")[:5], training_image("a red fox")]):
        Image.fromarray(pixels).save(place.train / f"{i}.png")
        (place.train / f"{i}.txt").write_text("a fox")
    (place.train / "broken.png").write_bytes(b"no picture")
    build_index(place.index, open_source(place.train), shard_images=4)
    build_index(place.index, open_source(root / "train.npy"), shard_images=4)

    right = layout.write_shard

    def write(folder: Path, number: int, *more: Any) -> None:
        if number == 2:
            raise KeyboardInterrupt
        right(folder, number, *more)

    with contextlib.suppress(KeyboardInterrupt), mock.patch.object(layout, "write_shard", write):
        build_index(place.begun, open_source(place.train), shard_images=2)
    assert len(list(place.begun.glob("shard-*"))) == 2
    return place


def _stop(run: Path) -> None:
    """Make a run that was interrupted with a finished shard, a checkpoint and a journal."""
    for batches in range(1, 100):
        shutil.rmtree(run, ignore_errors=True)
        with contextlib.suppress(KeyboardInterrupt), mock.patch.object(journal, "WORTH", 0.0):
            audit(run, STOPPED, sampler=Interrupted(batches), prompts=PROMPTS, quiet=True)
        kinds = {path.suffix for path in run.glob("partial/*")}
        if len(list(run.glob("manifest/*"))) == 1 and kinds == {".checkpoint", ".journal"}:
            return
    raise AssertionError("no number of batches leaves a checkpoint and a journal")


def _command(*words: str) -> Callable[[Place], Answer]:
    """Return what gives a command: words in capitals are paths of the place."""

    def read(place: Place) -> Answer:
        paths = {name.upper(): path for name, path in vars(place).items()}
        given = [paths.get(word, place.root / word.lower() if word.isupper() else word) for word in words]
        given = [
            place.root / word[1:] if isinstance(word, str) and word[:1] == "@" else word for word in given
        ]
        with warnings.catch_warnings(
            record=True
        ) as warned:  # which a test's runner keeps from standard error
            warnings.simplefilter("always")
            said = memcore(*given)
        out = _PASSING.sub(r"\1: 0", said.out)
        told = "\n".join(str(warning.message) for warning in warned)
        return Answer(said.code, out + said.err + told, _content(out) if "--json" in words else None)

    return read


def _content(out: str) -> Any:
    """Return a JSON answer without what it says of files that are not used, and of what they held."""
    with contextlib.suppress(ValueError):
        value = json.loads(out)
        for name in ("stale", "not_decided", "in_flight"):
            value.pop(name, None)
        return value
    return None


def _guarded(read: Callable[[Place], Any]) -> Callable[[Place], Answer]:
    """Return a function's answer, with the warnings that it gives, or the error of memcore's that it raises."""

    def guarded(place: Place) -> Answer:
        logged = io.StringIO()
        handler = logging.StreamHandler(logged)
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            logging.getLogger("memcore").addHandler(handler)
            try:
                content = read(place)
            except MemcoreError as error:
                return Answer(2, str(error))
            finally:
                logging.getLogger("memcore").removeHandler(handler)
        return Answer(0, logged.getvalue() + "\n".join(str(warning.message) for warning in given), content)

    return guarded


def _resume(run: Path, config: Config = CONFIG, *, retry_failed: bool = False) -> Any:
    sampler = SyntheticSampler(fail="rain")
    made = audit(run, config, sampler=sampler, prompts=PROMPTS, quiet=True, retry_failed=retry_failed)
    notes = [entry for entry in made.quarantine() if entry["reason"] != "checkpoint"]
    for entry in made.quarantine():
        if entry["reason"] == "checkpoint":
            warnings.warn(entry["detail"], RuntimeWarning, stacklevel=1)
    return made.findings(), notes


def _match_resumed(place: Place) -> Answer:
    """Resume the stopped run, and compare the pictures of all its findings."""
    resumed = _guarded(lambda place: _resume(place.stopped, STOPPED))(place)
    if resumed.code:
        return resumed
    said = memcore("match", place.stopped, "--training", place.root / "train.npy", "--json")
    return Answer(said.code, resumed.said + said.out + said.err, (resumed.content, _content(said.out)))


def _annotate(place: Place) -> Any:
    """Do what the page's server does: show all pictures, and take an answer."""
    gallery = Gallery(place.run)
    order = [(shown.prompt_id, shown.clique) for shown in gallery.items]
    with Annotations.create(place.run, gallery.digest, order, gallery.shown_digest) as opened:
        before = [opened.labels(annotator) for annotator in ANNOTATORS]
        numbers = [number for shown in gallery.items for number in (*shown.generations, *shown.training)]
        pictures = [gallery.read(number) for number in numbers]
        opened.append("another", 2, 1, "unsure")
        after = [opened.labels(annotator) for annotator in ANNOTATORS]
    return gallery.items, before, pictures, after


def _api(place: Place) -> Any:
    """Read what a program reads of a run."""
    run = RunFolder.open(place.run)
    return (
        list(run.prompts),
        run.findings(),
        run.manifests(),
        run.quarantine(),
        run.matches(),
        run._repr_html_(),
    )


def _resume_index(place: Place) -> Answer:
    """Resume an index, and check it: what it had is not read to add to it."""
    words = ("--source", place.train, "--quiet", "--shard-images", 2, "--json")
    resumed, checked = memcore("index", place.begun, *words), memcore("index", place.begun, "--verify")
    said = resumed.out + resumed.err + checked.out + checked.err
    return Answer(
        max(resumed.code, checked.code, key=lambda code: code in (1, 2)), said, _content(resumed.out)
    )


def _fetch(place: Place) -> Answer:
    """Copy the run, and read the copy: what it refuses was copied as it was."""
    copy = place.root / "copy"
    said = memcore("fetch", f"file://{place.run}", copy)
    answer = Answer(said.code, said.out + said.err)
    if said.code == 0:
        shown = memcore("show", copy, "--json")
        answer = Answer(shown.code, shown.out + shown.err, _content(shown.out))
    shutil.rmtree(copy, ignore_errors=True)
    return answer


_ANNOTATIONS = "run/annotations.sqlite"
_PAGE = ("run/report/index.html", "run/report/report.json")

READERS: dict[str, Reader] = {
    "status": Reader(_command("status", "RUN", "--json")),
    "status with inputs": Reader(
        _command("status", "RUN", "--training", "@train.npy", "--truth", "@truth.json", "--json")
    ),
    "show": Reader(_command("show", "RUN", "--json")),
    "show matches": Reader(_command("show", "RUN", "matches", "--json")),
    "show quarantine": Reader(_command("show", "RUN", "quarantine", "--json")),
    "show failures": Reader(_command("show", "RUN", "failures", "--json")),
    "match": Reader(
        _command("match", "RUN", "--training", "@train.npy", "--json"), removes=("run/match.json",)
    ),
    "match with an index": Reader(
        _command("match", "RUN", "--index", "INDEX", "--source", "TRAIN", "--source", "@train.npy", "--json"),
        removes=("run/match.json",),
    ),
    "evaluate": Reader(_command("evaluate", "RUN", "--truth", "@truth.json", "--json")),
    "evaluate matches": Reader(_command("evaluate", "RUN", "--against", "matches", "--json")),
    "evaluate annotations": Reader(_command("evaluate", "RUN", "--against", "annotations", "--json")),
    "agreement": Reader(_command("annotate", "RUN", "--agreement", "--json")),
    "annotate": Reader(_guarded(_annotate), changing=(_ANNOTATIONS,)),
    "report": Reader(_command("report", "RUN", "--json"), telling=_PAGE),
    "report beside": Reader(
        _command("report", "STOPPED", "--compare", "RUN", "--json"),
        telling=tuple(name.replace("run/", "stopped/") for name in _PAGE),
    ),
    "api": Reader(_guarded(_api)),
    "fetch": Reader(_fetch),
    "audit again": Reader(_guarded(lambda place: _resume(place.run))),
    "audit failed prompts again": Reader(_guarded(lambda place: _resume(place.run, retry_failed=True))),
    "resume": Reader(
        _guarded(lambda place: _resume(place.stopped, STOPPED)), telling=("stopped/quarantine/",)
    ),
    "resume and match": Reader(
        _match_resumed, telling=("stopped/quarantine/",), removes=("stopped/match.json",)
    ),
    "status of a stopped run": Reader(_command("status", "STOPPED", "--json")),
    "show of a stopped run": Reader(_command("show", "STOPPED", "--json")),
    "index verified": Reader(_command("index", "INDEX", "--verify", "--json")),
    "index again": Reader(
        _command("index", "INDEX", "--source", "TRAIN", "--quiet", "--shard-images", "4", "--json")
    ),
    "prompts": Reader(
        _command(
            *(
                "prompts",
                "@prompts.parquet",
                "--index",
                "INDEX",
                "--source",
                "TRAIN",
                "--source",
                "@train.npy",
            ),
            *("--min-count", "1", "--json"),
        )
    ),
    "index resumed": Reader(_resume_index),
}
