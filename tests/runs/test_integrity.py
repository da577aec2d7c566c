"""A damaged file of a run is never read as another one: a checkpoint is left aside and said, all else refused by name."""

from __future__ import annotations

import contextlib
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memcore.audit import audit
from memcore.errors import DamagedFileError, RunError
from memcore.matching.members import CliqueMembers
from memcore.report.page import write_report
from memcore.report.run import read_run
from memcore.runs.annotations import ANNOTATORS, Annotations
from memcore.runs.folder import RunFolder
from memcore.runs.reading import FORMAT
from tests.support.run_files import content
from tests.support.stored_runs import CONFIG, Interrupted
from tests.support.synthetic import PROMPTS, SyntheticSampler

DATA = Path(__file__).parents[1] / "data" / f"format-{FORMAT}"
#: Bits flipped of each file, besides those of its first and last byte.
FLIPS = 24


def everything(run: Path) -> list[Any]:
    """Return all that commands read of a finished run."""
    folder = RunFolder.open(run)
    members = CliqueMembers(folder)
    read = read_run(run)
    with Annotations.open(run, folder.digest) as opened:
        said = [opened.labels(annotator) for annotator in ANNOTATORS]
        said.append({item.item: str(item) for item in opened.items()})
    return [
        folder.meta,
        list(folder.prompts),
        folder.findings(),
        folder.quarantine(),
        folder.manifests(),
        folder.matches(),
        members.load(np.arange(sum(members.sizes))).tobytes(),
        read.evaluation,
        read.match,
        read.stale,
        said,
    ]


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def chosen_bits(data: bytes, count: int = FLIPS) -> list[int]:
    draw = random.Random(len(data))
    last = 8 * len(data)
    return [*range(8), *range(last - 8, last), *(draw.randrange(last) for _ in range(count))]


def kinds() -> dict[str, str]:
    """Return one file of each kind: those of one kind are written and read by the same code."""
    found: dict[str, str] = {}
    for path in sorted((DATA / "finished").rglob("*")):
        if path.is_file() and "training" not in path.parts:
            name = str(path.relative_to(DATA / "finished"))
            found.setdefault(name.partition("/")[0], name)
    return found


@pytest.mark.parametrize("kind", sorted(kinds()))
def test_a_flipped_bit_is_refused_by_name_or_harmless(tmp_path: Path, kind: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(DATA / "finished", run)
    path = run / kinds()[kind]
    whole, before = path.read_bytes(), everything(run)
    refused = 0
    for bit in chosen_bits(whole):
        path.write_bytes(flipped(whole, bit))
        try:
            after = everything(run)
        except RunError as error:
            assert path.name in str(error), f"bit {bit}"  # noqa: PT017
            refused += 1
        else:
            stale = [entry.text for entry in after[-2]]
            # of annotations that cannot be read the page says so, and everything else is as it was
            assert after == before or any(path.name in text for text in stale), f"bit {bit}"
    path.write_bytes(whole)
    assert everything(run) == before
    # free space of a database, white space of JSON and comments of TOML may change
    assert refused >= (1 if kind == "annotations.sqlite" else 0.9 * len(chosen_bits(whole)))


def resume(run: Path) -> RunFolder:
    return audit(run, CONFIG, sampler=SyntheticSampler(fail="rain"), prompts=PROMPTS, quiet=True)


def test_a_damaged_checkpoint_is_left_aside_and_said(tmp_path: Path) -> None:
    """A-D1: whatever bit of it is flipped, the resumed run has the findings of an undisturbed one."""
    good = {name: digest for name, digest in content(DATA / "finished").items() if "quarantine" not in name}
    (name,) = (p.name for p in (DATA / "stopped" / "partial").iterdir())
    whole = (DATA / "stopped" / "partial" / name).read_bytes()
    run = tmp_path / "run"
    shutil.copytree(DATA / "stopped", run)
    folder = RunFolder.open(run)
    (shard,) = (s for s in folder.shards() if s.task in name)
    assert folder.read_partial(shard).rows
    for bit in chosen_bits(whole, 200):
        (run / "partial" / name).write_bytes(flipped(whole, bit))
        with pytest.warns(RuntimeWarning, match=rf"{name} is damaged: .*; it is not used"):
            record = folder.read_partial(shard)
        assert not record.rows
        assert [(q["source"], q["reason"]) for q in record.quarantine] == [(f"partial/{name}", "checkpoint")]
    with pytest.warns(RuntimeWarning, match="is not used"):
        done = resume(run)
    assert {n: digest for n, digest in content(run).items() if "quarantine" not in n} == good
    (said,) = (entry for entry in done.quarantine() if entry["reason"] == "checkpoint")
    assert said["source"] == f"partial/{name}"
    assert "the prompts of its shard are done again" in said["detail"]
    assert not done.given_up()
    # it is a note, and no image that could not be read
    assert [gap.code for gap in read_run(run).completeness.gaps] == ["failed", "few"]


def test_what_is_said_of_a_checkpoint_outlives_the_next_one(tmp_path: Path) -> None:
    """The run is interrupted again, after the damaged checkpoint was replaced by a sound one."""
    run = tmp_path / "run"
    shutil.copytree(DATA / "stopped", run)
    (path,) = (run / "partial").iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    shard = next(s for s in RunFolder.open(run).shards() if s.task in path.name)
    for batches in range(1, 100):
        with contextlib.suppress(KeyboardInterrupt), pytest.warns(RuntimeWarning, match="is not used"):
            audit(run, CONFIG, sampler=Interrupted(batches), prompts=PROMPTS, quiet=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            record = RunFolder.open(run).read_partial(shard)
        if record.rows:
            break
    assert [entry["reason"] for entry in record.quarantine] == ["checkpoint"]
    assert [q["reason"] for q in resume(run).quarantine() if q["prompt_id"] is None] == ["checkpoint"]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: data[:200],
        lambda data: data.partition(b"\n")[2],
        lambda data: data + b" ",
    ],
    ids=["empty", "cut", "no head", "longer"],
)
def test_a_checkpoint_that_is_cut(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    run = tmp_path / "run"
    shutil.copytree(DATA / "stopped", run)
    (path,) = (run / "partial").iterdir()
    path.write_bytes(change(path.read_bytes()))
    folder = RunFolder.open(run)
    (shard,) = (s for s in folder.shards() if s.task in path.name)
    with pytest.warns(RuntimeWarning, match="is damaged"):
        assert not folder.read_partial(shard).rows


def test_a_checkpoint_of_another_shard(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(DATA / "stopped", run)
    folder = RunFolder.open(run)
    (path,) = (run / "partial").iterdir()
    other = next(s for s in folder.pending() if s.task not in path.name)
    path.rename(path.with_name(f"{other.task}.checkpoint"))
    with pytest.warns(RuntimeWarning, match="belongs to another shard"):
        assert not folder.read_partial(other).rows


def test_a_sound_checkpoint_is_used_without_a_word(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(DATA / "stopped", run)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        resume(run)


def test_other_prompts_are_never_sampled(tmp_path: Path) -> None:
    """A-D2: prompts.parquet is checked before a prompt of it is used, and the run stays as it is."""
    run = tmp_path / "run"
    shutil.copytree(DATA / "stopped", run)
    path = run / "prompts.parquet"
    whole = path.read_bytes()
    for bit in chosen_bits(whole, 40):
        path.write_bytes(flipped(whole, bit))
        with pytest.raises(DamagedFileError, match=r"prompts\.parquet is damaged: the sha256 of its chunk 0"):
            list(RunFolder.open(run).prompts)
    with pytest.raises(RunError, match=r"prompts\.parquet"):
        resume(run)
    assert len(list(run.glob("manifest/*"))) == 1


def test_what_is_not_verified_is_not_signed_again(tmp_path: Path) -> None:
    """A shard whose findings were damaged is not made an unfinished one with a fresh checkpoint."""
    run = tmp_path / "run"
    shutil.copytree(DATA / "finished", run)
    (manifest,) = (m for m in RunFolder.open(run).manifests() if m["failed"])
    path = run / "findings" / f"shard-{manifest['shard']}.parquet"
    path.write_bytes(flipped(path.read_bytes(), 4000))
    with pytest.raises(DamagedFileError, match=rf"{path.name} is damaged: its sha256 differs"):
        audit(
            run, CONFIG, sampler=SyntheticSampler(fail="rain"), prompts=PROMPTS, quiet=True, retry_failed=True
        )
    assert not list(run.glob("partial/*"))
    assert (run / "manifest" / f"shard-{manifest['shard']}.json").exists()


def test_a_finished_shard_stays_one_where_its_prompts_are_damaged(tmp_path: Path) -> None:
    """They are checked before the shard of a prompt that failed is done again."""
    run = tmp_path / "run"
    shutil.copytree(DATA / "finished", run)
    path = run / "prompts.parquet"
    path.write_bytes(flipped(path.read_bytes(), 4000))
    before = {str(file): file.read_bytes() for file in run.rglob("*") if file.is_file()}
    for again in ({"retry_failed": True}, {"retry": True}):
        with pytest.raises(DamagedFileError, match=r"prompts\.parquet is damaged"):
            audit(run, CONFIG, sampler=SyntheticSampler(fail="rain"), prompts=PROMPTS, quiet=True, **again)
    after = {str(file): file.read_bytes() for file in run.rglob("*") if file.is_file()}
    after.pop(str(run / ".lock"))
    assert after == before


def test_a_page_that_was_changed_is_said(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(DATA / "finished", run)
    page = write_report(run)
    assert RunFolder.open(run).stale() == []
    page.write_bytes(flipped(page.read_bytes(), 4000))
    (stale,) = RunFolder.open(run).stale()
    assert stale.file == "report/index.html"
    assert "is not the page that was written: give memcore report again" in stale.text
    write_report(run)
    assert RunFolder.open(run).stale() == []


def test_a_quarantine_that_is_lost_is_noticed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(DATA / "finished", run)
    (file,) = (run / "quarantine").iterdir()
    file.unlink()
    with pytest.raises(RunError, match=rf"{file.name} is missing although its manifest says"):
        RunFolder.open(run).quarantine()


def test_images_of_a_run_that_keeps_all_have_digests(tmp_path: Path) -> None:
    run = audit(
        tmp_path / "run",
        type(CONFIG)(source="custom", generations=8, batch_size=3, shard_prompts=2, keep="all", min_clique=4),
        sampler=SyntheticSampler(),
        prompts=PROMPTS[:3],
        quiet=True,
    )
    written = {
        f"images/{row['prompt_id']:06d}/{image['seed']}.png"
        for row in run.findings()
        for image in row["images"] or []
    }
    assert written == {str(p.relative_to(run.path)) for p in run.path.rglob("images/*/*.png")}
    assert len(written) == 24
