"""A study as a job: the same bytes whatever was killed, its tables complete, its failures told."""

from __future__ import annotations

import dataclasses
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from memcore.engine.task import CHECKPOINTS
from memcore.errors import ConfigError, RunError
from memcore.study import prepared
from memcore.study.findings.reading import Study
from memcore.study.folder import StudyFolder
from memcore.study.plan import plan_study
from memcore.study.protocols.read import parse_protocol
from memcore.study.rows import ROWS, TABLES, Name
from memcore.study.status import status_lines, study_status
from memcore.study.tables import list_models, read_axes, read_rows
from memcore.system import atomic_files
from tests.support.study_runs import do
from tests.support.study_sets import write_tiny

KILLS = 10


@pytest.fixture(autouse=True)
def _one_thread() -> object:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def rows_of(folder: StudyFolder, model: str, table: Name) -> list[dict[str, Any]]:
    return read_rows(folder.storage, model, table, folder.files()[model])


def content(study: Path) -> dict[str, bytes]:
    """The bytes of everything that a study leaves but its manifests, which hold times."""
    files = (p for folder in (ROWS, "features") for p in (study / folder).rglob("*") if p.is_file())
    return {str(path.relative_to(study)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def protocol(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def whole(protocol: Path) -> Path:
    study = protocol.parent / "whole"
    do(protocol, study)
    return study


def test_every_table_is_there_and_says_what_was_done(whole: Path) -> None:
    folder = StudyFolder.open(str(whole))
    storage = folder.storage
    assert list_models(storage) == sorted(folder.specs)
    first = next(spec for spec in folder.specs.values() if "shared" in spec.groups)
    (row,) = rows_of(folder, first.id, "model")
    assert row["groups"] == ["sets", "shared"]
    assert (row["n"], row["members"], row["rows"]) == (12, 12, 12 + 2 * 2 + 1)
    assert row["copies"] == [{"images": 2, "copies": 3}]
    steps = rows_of(folder, first.id, "training")
    assert [r["step"] for r in steps] == [3, 5, 9]
    assert steps[-1]["weights_sha256"] == row["weights_sha256"]
    assert len({r["weights_sha256"] for r in steps}) == 3
    members = rows_of(folder, first.id, "members")
    assert [sum(r["role"] == role for r in members) for role in ("member", "canary")] == [12, 1]
    extraction = rows_of(folder, first.id, "extraction")
    keys = {(r["step"], r["rule"], r["of"], r["copies"]) for r in extraction}
    assert len(keys) == len(extraction)
    for step in (3, 5, 9):
        for rule in ("adaptive", "adaptive_held_out", "ratio", "l2"):
            assert {(step, rule, "train", 0), (step, rule, "train", 1), (step, rule, "train", 3)} <= keys
            assert (step, rule, "held-out", 0) in keys
    for row in extraction:
        if row["of"] == "train" and row["copies"] == 0:
            parts = [
                r for r in extraction if r["step"] == row["step"] and r["rule"] == row["rule"] and r["copies"]
            ]
            assert sum(r["hits"] for r in parts) == row["hits"]
            assert sum(r["planted"] for r in parts) == row["planted"]
    assert {(r["step"], r["of"]) for r in rows_of(folder, first.id, "quality")} == {
        (step, of) for step in (3, 5, 9) for of in ("held-out", "train")
    }
    losses = rows_of(folder, first.id, "losses")
    assert [sum(r["role"] == role for r in losses) for role in ("member", "held-out", "shifted")] == [
        12,
        12,
        12,
    ]
    assert len({r["image"] for r in losses}) == 36
    assert {len(r["losses"]) for r in losses} == {4}
    assert read_axes(storage, first.id, folder.files()[first.id]) == {
        "timesteps": [50, 100],
        "draws": 2,
        "flips": 1,
    }
    assert [r["member"] for r in rows_of(folder, first.id, "inpainting")] == [True] * 2 + [False] * 2
    assert {r["candidates"] for r in rows_of(folder, first.id, "canaries")} == {8}
    assert [r["seed"] for r in rows_of(folder, first.id, "samples") if r["step"] == 9] == [0, 1, 2, 3]
    assert not storage.names(CHECKPOINTS)


def test_models_of_a_pool_are_measured_on_the_same_images(whole: Path) -> None:
    folder = StudyFolder.open(str(whole))
    halves = [s.id for s in folder.specs.values() if "halves" in s.groups]
    tables = [[r for r in rows_of(folder, m, "losses") if r["role"] != "shifted"] for m in halves]
    first, second = ({r["image"]: r["member"] for r in rows} for rows in tables)
    assert list(first) == list(second)
    assert all(first[image] != second[image] for image in first)


def flipped(data: bytes, rng: random.Random) -> bytes:
    """Return data with one of its bits turned over."""
    bit = rng.randrange(8 * len(data))
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_a_flipped_bit_of_a_finished_model_is_refused(whole: Path, tmp_path: Path) -> None:
    rng = random.Random(3)
    shutil.copytree(whole, tmp_path / "study")
    files = [*(tmp_path / "study" / ROWS).iterdir(), *(tmp_path / "study" / "manifest").iterdir()]
    for path in files:
        sound = path.read_bytes()
        path.write_bytes(flipped(sound, rng))
        with pytest.raises(RunError, match=re.escape(path.name)):
            read_all(tmp_path / "study")
        path.write_bytes(sound)
    read_all(tmp_path / "study")


def read_all(place: Path) -> int:
    """Read all tables of a study, and return how many rows they have."""
    study = Study.of(StudyFolder.open(str(place)))
    return sum(len(study.rows(spec, table)) for spec in study.specs for table in TABLES)


def test_a_missing_table_is_told_and_never_taken_for_an_empty_one(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "study")
    for path in sorted((tmp_path / "study" / ROWS).iterdir())[::5]:
        sound = path.read_bytes()
        path.unlink()
        with pytest.raises(RunError, match=rf"{re.escape(path.name)} is missing"):
            read_all(tmp_path / "study")
        path.write_bytes(sound)


def test_the_status_names_tables_that_are_gone(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "study")
    gone = sorted((tmp_path / "study" / ROWS).iterdir())[3]
    gone.unlink()
    model = gone.name.partition(".")[0]
    result = study_status(StudyFolder.open(str(tmp_path / "study")))
    assert result["tables_missing"] == {model: [f"{ROWS}/{gone.name}"]}
    assert not result["complete"]
    (line,) = [line for line in status_lines(result) if gone.name in line]
    assert line.endswith(f"remove manifest/{model}.json and run the study again")
    (tmp_path / "study" / "manifest" / f"{model}.json").unlink()
    assert study_status(StudyFolder.open(str(tmp_path / "study")))["tables_missing"] == {}
    assert study_status(StudyFolder.open(str(whole)))["tables_missing"] == {}


def test_a_damaged_feature_network_is_refused(protocol: Path, whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "study")
    (network,) = (tmp_path / "study" / "features").iterdir()
    network.write_bytes(flipped(network.read_bytes(), random.Random(1)))
    held = prepared.prepare_data(parse_protocol(protocol.read_bytes(), "tiny"))
    name, about = next(iter(held.items()))
    folder = StudyFolder.open(str(tmp_path / "study"))
    with pytest.raises(RunError, match=r"features/.* is damaged"):
        prepared.feature_network(folder.storage, folder.protocol, name, about.data)


class Killed(BaseException):
    """What a kill is to the code: nothing runs after it."""


def test_a_kill_at_any_write_costs_nothing_that_is_stored(
    protocol: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before a write again and again, the study still ends in the bytes of one that was left alone."""
    study = tmp_path / "killed"
    held = prepared.prepare_data(parse_protocol(protocol.read_bytes(), "tiny"))
    monkeypatch.setattr("memcore.study.task.prepare_data", lambda protocol: held)
    write, left, kills = atomic_files.write_atomic, 0, 0

    def killing(path: Path, data: bytes) -> None:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        write(path, data)

    monkeypatch.setattr(atomic_files, "write_atomic", killing)
    while True:
        left = 10 + kills % 7  # as many as one piece has tables, or nothing would ever be done
        try:
            do(protocol, study)
        except Killed:
            kills += 1
        else:
            break
    assert kills >= 6
    assert content(study) == content(whole)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_damaged_of_an_unfinished_model_is_done_again(
    protocol: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """A flipped bit in the state of a training, in its weights, samples or tables changes no result."""
    study, rng, left = tmp_path / "killed", random.Random(seed), 9 + 6 * seed
    held = prepared.prepare_data(parse_protocol(protocol.read_bytes(), "tiny"))
    monkeypatch.setattr("memcore.study.task.prepare_data", lambda protocol: held)
    write = atomic_files.write_atomic

    def killing(path: Path, data: bytes) -> None:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        write(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(atomic_files, "write_atomic", killing)
        with pytest.raises(Killed):
            do(protocol, study)
    files = sorted((study / CHECKPOINTS).iterdir())
    assert files
    for path in rng.sample(files, max(1, len(files) // 2)):
        path.write_bytes(flipped(path.read_bytes(), rng))
    with pytest.warns(UserWarning, match="is damaged: what it held is done again"):
        do(protocol, study)
    assert content(study) == content(whole)


@pytest.mark.slow
def test_sigkill_costs_nothing_that_is_stored(protocol: Path, whole: Path, tmp_path: Path) -> None:
    study, chance = tmp_path / "killed", random.Random(0)
    command = [
        sys.executable,
        "-m",
        "memcore",
        "study",
        "run",
        str(protocol),
        str(study),
        "--workers",
        "2",
        "--quiet",
    ]
    for _ in range(KILLS):
        process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
        until = time.monotonic() + chance.uniform(2, 9)
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True, capture_output=True)
    assert content(study) == content(whole)


def test_at_most_one_interval_is_trained_again(
    protocol: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from memcore.study.training.trainer import Trainer

    trained: list[int] = []
    step = Trainer._step

    def counting(self: Trainer) -> None:
        trained.append(self.step)
        if len(trained) == 7:
            raise Killed
        step(self)

    monkeypatch.setattr(Trainer, "_step", counting)
    study = tmp_path / "study"
    with pytest.raises(Killed):
        do(protocol, study)
    killed_at = trained[-1]
    do(protocol, study)
    assert killed_at - trained[7] < parse_protocol(protocol.read_bytes(), "tiny").interval


def test_a_study_is_resumed_with_its_own_protocol_only(protocol: Path, whole: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(protocol.read_text().replace("draws = 2", "draws = 3", 1))
    with pytest.raises(
        ConfigError, match=r"was started with another protocol: membership: .*draws=2.*draws=3"
    ):
        do(other, whole)
    other.write_text(protocol.read_text().replace("for tests", "other words", 1))
    before = content(whole)
    do(other, whole)
    assert content(whole) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty and holds no study"):
        do(protocol, tmp_path / "mine")


def test_finished_rows_continue_on_another_machine(protocol: Path, whole: Path, tmp_path: Path) -> None:
    """The small files alone are copied: what they hold is not done again."""
    study = tmp_path / "moved"
    for name in ("protocol.toml", "study.json"):
        (study / name).parent.mkdir(parents=True, exist_ok=True)
        (study / name).write_bytes((whole / name).read_bytes())
    done = sorted((whole / "manifest").iterdir())[0].stem
    for path in [whole / "manifest" / f"{done}.json", *(whole / ROWS).glob(f"{done}.*")]:
        target = study / path.relative_to(whole)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    stamp = (study / "manifest" / f"{done}.json").read_bytes()
    do(protocol, study)
    assert (study / "manifest" / f"{done}.json").read_bytes() == stamp
    assert content(study) == content(whole)


def test_the_status_counts_groups_and_work(protocol: Path, whole: Path, tmp_path: Path) -> None:
    result = study_status(StudyFolder.open(str(whole)))
    assert result["complete"]
    assert result["share"] == 1
    assert result["groups"] == {
        "sets": {"models": 2, "done": 2},
        "halves": {"models": 2, "done": 2},
        "shared": {"models": 1, "done": 1},
    }
    with pytest.raises(RunError, match="holds no study"):
        StudyFolder.open(str(tmp_path))


def test_a_plan_measures_each_kind_of_model(protocol: Path) -> None:
    plan = plan_study(parse_protocol(protocol.read_bytes(), "tiny"), workers=2, seconds=0.01)
    assert (plan["models"], plan["training_steps"]) == (4, 9 + 6 + 6 + 9)
    assert [kind["models"] for kind in plan["kinds"]] == [4]
    assert plan["hours"] < plan["worker_hours"]
    labelled = re.sub(r"attacks = .*", 'attacks = ["extraction"]', protocol.read_text())
    labelled = labelled.replace("batch = 4", 'batch = 64, labels = "unique"')
    assert plan_study(parse_protocol(labelled.encode(), "tiny"), workers=1, seconds=0.01)["hours"] > 0
    with pytest.raises(ConfigError, match="device 'cuda:99' cannot be used"):
        plan_study(
            dataclasses.replace(parse_protocol(protocol.read_bytes(), "tiny"), device="cuda:99"), workers=1
        )
