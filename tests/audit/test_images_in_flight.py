"""A kill inside a long prompt costs its last moments alone, and the findings are those of a run that was left alone."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memcore.audit import audit, journal, saving
from memcore.audit.task import AuditJob
from memcore.cli import main as memcore
from memcore.engine import scheduler
from memcore.errors import SamplerError, StoreError, WorkerError
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder
from memcore.runs.status import status, status_lines
from memcore.sampling.diffusers.first_step import FirstStep
from memcore.system import atomic_files
from memcore.types import Images, Request
from tests.support.faulty_disk import FaultyDisk, QuickDisk
from tests.support.run_files import content
from tests.support.synthetic import SyntheticSampler

#: One memorised prompt, one of black frames (flagged images), and others.
PROMPTS = ["a red fox", "nothing but black", "two boats", "a door"]
GENERATIONS, BATCH = 60, 8
SEQUENTIAL = {"budget": "sequential", "copy_rate": 0.3, "miss_rate": 0.05}
SCREEN = {"screen": "noise_magnitude", "screen_threshold": 2.0, "screen_seeds": 2}


class Killed(BaseException):
    """What the process does after this is not written: it was killed."""


class CountingSampler(SyntheticSampler):
    """A sampler that counts what it is asked for and is killed at its call number ``most``; some images hold no picture."""

    def __init__(self, most: int = 10**9) -> None:
        super().__init__()
        self.most = most
        self.asked: Counter[tuple[int, int]] = Counter()

    def sample(self, requests: Sequence[Request]) -> Images:
        if len(self.batches) >= self.most:
            raise Killed
        self.asked.update((r.prompt_id, r.seed) for r in requests)
        images = super().sample(requests)
        broken = np.array([r.seed % 11 == 0 for r in requests])
        return Images(images.pixels, images.flagged | broken, broken)

    def first_step(self, requests: Sequence[Request], *, guidance_scale: float) -> FirstStep:
        scores = np.array([1.0 if r.prompt == "a door" else 3.0 for r in requests])
        return FirstStep(scores, scores)


@pytest.fixture(autouse=True)
def always_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are kept after each batch, however quick their sampling was; after a kill nothing is."""
    monkeypatch.setattr(journal, "WORTH", 0.0)
    monkeypatch.setattr(scheduler, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(atomic_files, "disk", QuickDisk())
    save = saving.Saver.save

    def saved(self: saving.Saver) -> None:
        if not isinstance(sys.exception(), Killed):
            save(self)

    monkeypatch.setattr(saving.Saver, "save", saved)


def run(path: Path, sampler: SyntheticSampler | None = None, **changes: Any) -> RunFolder:
    given = {"generations": GENERATIONS, "batch_size": BATCH, "shard_prompts": 4, **changes}
    options = {name: given.pop(name) for name in ("journal_bytes", "retry_failed") if name in given}
    config = Config(source="custom", **given)
    return audit(path, config, sampler=sampler or CountingSampler(), prompts=PROMPTS, quiet=True, **options)


def journals(path: Path) -> list[Path]:
    return sorted((path / "partial").glob("*.journal"))


def kill(path: Path, calls: int, **changes: Any) -> CountingSampler:
    """Start or resume a run that is killed after so many calls of its sampler."""
    sampler = CountingSampler(calls)
    with pytest.raises(Killed):
        run(path, sampler, **changes)
    return sampler


@pytest.mark.parametrize(
    "changes",
    [{}, {"batch_size": 7}, {"batch_size": 100}, SEQUENTIAL, {**SEQUENTIAL, "batch_size": 32}, SCREEN,
     {"keep": "all"}, {"edges_up_to": 0.3}, {"shard_prompts": 1}],
    ids=["fixed", "batch-7", "batch-100", "sequential", "sequential-32", "screen", "keep-all", "pairs", "shards"],
)  # fmt: skip
def test_kills_cost_a_batch_each_and_change_nothing(tmp_path: Path, changes: dict[str, Any]) -> None:
    """N-D2: all images of the prompt at work were lost, whatever its sampling took."""
    undisturbed = CountingSampler()
    whole = run(tmp_path / "whole", undisturbed, **changes)
    asked: Counter[tuple[int, int]] = Counter()
    kills = 0
    for calls in (1, 2, 3, 2, 5, 1, 4):
        sampler = CountingSampler(calls + 1)
        try:
            run(tmp_path / "killed", sampler, **changes)
        except Killed:
            kills += 1
        asked += sampler.asked
        done = kills and not RunFolder.open(tmp_path / "killed").pending()
        if done:
            break
    last = CountingSampler()
    killed = run(tmp_path / "killed", last, **changes)
    asked += last.asked
    assert kills >= (2 if changes.get("batch_size", BATCH) <= BATCH else 1)
    assert content(killed.path) == content(whole.path)
    assert not journals(killed.path)
    again = sum((asked - undisturbed.asked).values())
    # each start samples the run's first image once more, to compare; no other image is made twice
    assert again <= kills + 1, "images that were kept were sampled again"


@pytest.mark.parametrize("slots", [False, True], ids=["prompt-graphs", "device-prompts"])
@pytest.mark.parametrize("changes", [{}, SEQUENTIAL], ids=["fixed", "sequential"])
def test_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slots: bool, changes: dict[str, Any]
) -> None:
    """They come back as tensors, on the device that the sampler had them on."""
    torch = pytest.importorskip("torch")
    from memcore.graphs import start

    if slots:
        monkeypatch.setattr(start, "on_device", lambda pixels: isinstance(pixels, torch.Tensor))

    class Tensors(CountingSampler):
        def sample(self, requests: Sequence[Request]) -> Images:
            images = super().sample(requests)
            return Images(torch.from_numpy(images.pixels), images.flagged, images.broken)

    whole = content(run(tmp_path / "whole", **changes).path)
    asked = 0
    for calls in (4, 2, 3, 10**9):
        sampler = Tensors(calls)
        with contextlib.suppress(Killed):
            run(tmp_path / "run", sampler, **changes)
        asked += sum(sampler.asked.values())
    assert content(tmp_path / "run") == whole
    if not changes:
        assert asked <= GENERATIONS * len(PROMPTS) + 4


def test_images_of_a_device_that_is_gone_are_sampled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    assert journal._is_there("")
    assert journal._is_there("cpu")
    assert journal._is_there("cuda:0") == torch.cuda.is_available()
    kill(tmp_path / "run", 5)
    monkeypatch.setattr(journal, "_is_there", lambda device: False)
    sampler = CountingSampler()
    folder = run(tmp_path / "run", sampler)
    assert sum(sampler.asked.values()) == GENERATIONS * len(PROMPTS) + 1
    assert content(folder.path) == content(run(tmp_path / "whole").path)


def test_in_an_object_store(tmp_path: Path) -> None:
    """Each save is an upload; status counts no images there, since it would have to load them."""
    pytest.importorskip("fsspec", reason="the extra s3 is not installed")
    url: Any = f"memory://{tmp_path.name}/run"
    kill(url, 6)
    folder = RunFolder.open(url)
    assert [name for name in folder.storage.names("partial") if name.endswith(".journal")]
    assert status(folder)["in_flight"]["kept"] == 0
    last = CountingSampler()
    resumed = run(url, last)
    assert sum(last.asked.values()) == GENERATIONS * len(PROMPTS) - 5 * BATCH + 1
    assert resumed.findings() == run(tmp_path / "whole").findings()
    assert folder.storage.names("partial") == []


def test_an_interrupt_keeps_what_is_in_flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C writes the images too, although it is not time."""
    monkeypatch.setattr(scheduler, "CHECKPOINT_SECONDS", 3600.0)
    sampler = CountingSampler(4)
    sampler.sample = _interrupted(sampler)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", sampler)
    last = CountingSampler()
    folder = run(tmp_path / "run", last)
    assert sum(last.asked.values()) == GENERATIONS * len(PROMPTS) - 3 * BATCH + 1
    assert content(folder.path) == content(run(tmp_path / "whole").path)


def _interrupted(sampler: CountingSampler) -> Any:
    right = sampler.sample

    def sample(requests: Sequence[Request]) -> Images:
        try:
            return right(requests)
        except Killed:
            raise KeyboardInterrupt from None

    return sample


def test_quick_prompts_are_sampled_again_and_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "WORTH", 10.0)
    monkeypatch.setattr(journal, "KEEP_SECONDS", 60.0)
    kill(tmp_path / "run", 4)
    assert not journals(tmp_path / "run")
    assert content(run(tmp_path / "run").path) == content(run(tmp_path / "whole").path)


def test_damaged_images_are_sampled_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One flipped bit anywhere in the pixels, and a tail that was cut off: neither becomes a finding."""
    whole = content(run(tmp_path / "whole").path)
    for number, damage in enumerate(
        [
            lambda data: data[:-1],
            lambda data: data[:-100] + bytes([data[-100] ^ 1]) + data[-99:],
            lambda data: (
                data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 128]) + data[len(data) // 2 + 1 :]
            ),
            lambda data: b"",
            lambda data: b"mcj1" + os.urandom(300),
        ]
    ):
        path = tmp_path / f"{number}"
        kill(path, 5)
        files = journals(path)
        assert len(files) >= 3
        files[1].write_bytes(damage(files[1].read_bytes()))
        caplog.clear()
        assert content(run(path).path) == whole
        assert ("sampled again" in caplog.text) == (number != 3), caplog.text


def test_journals_of_other_runs_are_not_used(tmp_path: Path) -> None:
    """Another seed, and another model with the same seeds: their files, in this run's folder."""
    whole = content(run(tmp_path / "whole").path)
    for name, changes, fingerprint in (("seed", {"seed": 1}, "synthetic-1"), ("model", {}, "synthetic-2")):
        other = CountingSampler(5)
        other.fingerprint = fingerprint
        with pytest.raises(Killed):
            run(tmp_path / f"other-{name}", other, **changes)
        path = tmp_path / name
        kill(path, 1)
        (shard,) = RunFolder.open(path).shards()
        for file in journals(tmp_path / f"other-{name}"):
            (path / "partial").mkdir(exist_ok=True)
            number = file.name.split(".", 1)[1]
            (path / "partial" / f"{shard.task}.{number}").write_bytes(file.read_bytes())
        last = CountingSampler()
        assert content(run(path, last).path) == whole
        assert sum(last.asked.values()) >= GENERATIONS * len(PROMPTS)


def test_over_the_budget_images_are_sampled_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Status and a warning say so; 0 keeps none."""
    size = 16 * 16 * 3
    kill(tmp_path / "run", 6, journal_bytes=24 * size + 4000, generations=400)
    assert sum(f.stat().st_size for f in journals(tmp_path / "run")) <= 24 * size + 4000 + 1000
    assert "need more than the" in caplog.text
    told = status(RunFolder.open(tmp_path / "run"))
    assert len(journals(tmp_path / "run")) <= 4, "what had no room is counted in one segment"
    assert 16 <= told["in_flight"]["kept"] <= 24
    assert told["in_flight"]["not_kept"] + told["in_flight"]["kept"] == 5 * BATCH
    assert any("had no room in the" in line for line in status_lines(told))
    last = CountingSampler()
    run(tmp_path / "run", last, generations=400)
    assert sum(last.asked.values()) == 400 * len(PROMPTS) - told["in_flight"]["kept"] + 1
    caplog.clear()
    kill(tmp_path / "none", 6, journal_bytes=0, generations=400)
    assert not journals(tmp_path / "none")
    assert "need more than" not in caplog.text


def test_the_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong number is told before anything is written; a worker process gets the right one."""
    (tmp_path / "prompts.txt").write_text("a red fox\n")
    words = ["audit", str(tmp_path / "run"), "--prompts", str(tmp_path / "prompts.txt"), "--quiet"]
    words += ["--sampler", "tests.support.synthetic:SyntheticSampler", "--journal-bytes"]
    assert memcore([*words, "-1"]) == 2
    assert "journal_bytes must be >= 0, got -1" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    sent = pickle.dumps(AuditJob(tmp_path / "run", Config(source="custom"), ["a"], journal_bytes=77).work)
    assert pickle.loads(sent)._journal_bytes == 77
    with monkeypatched_audit() as given:
        assert memcore([*words, "77"]) == 1
    assert given["journal_bytes"] == 77


@contextlib.contextmanager
def monkeypatched_audit() -> Iterator[dict[str, Any]]:
    """Have ``memcore audit`` end at once, and yield what it was to do."""
    given: dict[str, Any] = {}

    def refuse(*values: Any, **named: Any) -> None:
        given.update(named)
        raise WorkerError("enough")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("memcore.audit.audit", refuse)
        yield given


def test_a_disk_without_room_costs_the_journal_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class NoRoomForJournals(FaultyDisk):
        def create(self, path: Path) -> int:
            if path.name.endswith(".journal"):
                raise OSError(28, "No space left on device")
            return super().create(path)

    class NoRemoval(FaultyDisk):
        def remove(self, path: Path) -> None:
            if path.name.endswith(".journal"):
                raise OSError(5, "Input/output error")
            super().remove(path)

    whole = content(run(tmp_path / "whole").path)
    monkeypatch.setattr(atomic_files, "disk", NoRemoval())
    with contextlib.suppress(StoreError):  # of the run's end, which removes what is left
        run(tmp_path / "stuck")
    assert content(tmp_path / "stuck") == whole
    monkeypatch.setattr(atomic_files, "disk", NoRoomForJournals())
    caplog.clear()
    assert content(run(tmp_path / "run").path) == whole
    assert "images in flight are no longer kept" in caplog.text
    assert "No space left" in caplog.text
    assert not journals(tmp_path / "run")


def test_a_prompt_that_fails_later_fails_with_its_images_kept(tmp_path: Path) -> None:
    """Refused in its second batch: the same with a kill between."""

    class Refusing(CountingSampler):
        def sample(self, requests: Sequence[Request]) -> Images:
            last = [r for r in requests if r.prompt == "two boats" and r.seed in self.refused]
            if last:
                raise SamplerError("the prompt was refused")
            return super().sample(requests)

        refused = frozenset[int]()

    from memcore.sampling.seeds import derive_seeds

    Refusing.refused = frozenset(derive_seeds(0, 2, GENERATIONS)[20:].tolist())
    whole = run(tmp_path / "whole", Refusing())
    assert [row["status"] for row in whole.findings()].count("failed") == 1
    for calls in (17, 19, 25):
        path = tmp_path / f"{calls}"
        sampler = Refusing(calls)
        with pytest.raises(Killed):
            run(path, sampler)
        assert content(run(path, Refusing()).path) == content(whole.path)


class SelfKillingSampler(SyntheticSampler):
    """Ends its process by SIGKILL at its KILL_AT-th call; writes the seeds that it made images of into a file."""

    def sample(self, requests: Sequence[Request]) -> Images:
        if len(self.batches) == int(os.environ["KILL_AT"]):
            os.kill(os.getpid(), signal.SIGKILL)
        images = super().sample(requests)
        with open(os.environ["MADE"], "a") as file:
            file.writelines(f"{r.prompt_id} {r.seed}\n" for r in requests)
        return images


def main(place: str) -> None:
    """One prompt that is long: its images are kept each time that half of the time of two batches is over."""
    journal.WORTH = 0.0
    scheduler.CHECKPOINT_SECONDS = 0.0
    config = Config(source="custom", generations=GENERATIONS, batch_size=BATCH)
    audit(place, config, sampler=SelfKillingSampler(), prompts=PROMPTS[:1], quiet=True)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_sigkill_inside_a_prompt(tmp_path: Path) -> None:
    """The real thing: the process is gone in the middle of its only prompt, three times."""
    program = "import sys; from tests.audit.test_images_in_flight import main; main(sys.argv[1])"
    command = [sys.executable, "-c", program, str(tmp_path / "run")]
    made = tmp_path / "made"
    for at in (4, 4, 100):
        env = {**os.environ, "KILL_AT": str(at), "MADE": str(made)}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == (0 if at == 100 else -signal.SIGKILL), done.stderr
        if at != 100:
            told = status(RunFolder.open(tmp_path / "run"))
            assert told["generated"] == 0
            assert told["in_flight"]["images"] == told["in_flight"]["kept"] > 0
            assert any("nobody is at work on it" in line for line in status_lines(told))
    counted = Counter(made.read_text().splitlines())
    assert len(counted) == GENERATIONS
    # the first image is sampled again at each of three starts; nothing else is
    assert sum(counted.values()) == GENERATIONS + 3
    config = Config(source="custom", generations=GENERATIONS, batch_size=BATCH)
    whole = audit(tmp_path / "whole", config, sampler=SyntheticSampler(), prompts=PROMPTS[:1], quiet=True)
    assert content(tmp_path / "run") == content(whole.path)
