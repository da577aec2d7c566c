"""A study as a job of the engine: a task is a model, trained and attacked."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence

import torch

from memcore.engine.scheduler import list_pending
from memcore.engine.task import (
    Counts,
    Identity,
    OnProgress,
    Progressed,
    manifest_name,
    read_manifest,
    sign_manifest,
    write_manifest,
)
from memcore.errors import ArgumentTypeError, ArgumentValueError, RunError
from memcore.storage.base import Part
from memcore.storage.digests import seal
from memcore.study.classifier import FeatureNetwork
from memcore.study.data.public import public_images
from memcore.study.folder import FORMAT, StudyFolder, StudyStart
from memcore.study.model_run import ModelRun
from memcore.study.pieces import Pieces
from memcore.study.prepared import PreparedData, feature_network, identify, prepare_data
from memcore.study.protocols.protocol import Protocol
from memcore.study.rows import TABLES, rows_name
from memcore.study.taken_over import take_over
from memcore.study.units import count_units
from memcore.system.progress import Progress, say
from memcore.system.units import count


class StudyWork:
    """The work of a study's workers. Each computes on one thread of a CPU, whose sums have one order."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._prepared: dict[str, PreparedData] = {}
        self._networks: dict[str, tuple[FeatureNetwork, str]] = {}

    def prepare(self, threads: int | None) -> Identity:
        """Load the data sets. The number of threads is ignored: one gives the same bytes everywhere on a machine."""
        torch.set_num_threads(1)
        self._prepared = prepare_data(self._protocol)
        return identify(self._protocol, self._prepared)

    def run(
        self, folder: StudyFolder, task: str, on_progress: OnProgress, checkpoint_seconds: float
    ) -> Counts:
        """Train a model, attack it, write its rows."""
        started = time.time()
        spec = folder.specs[task]
        name = spec.factors.data
        prepared = self._prepared[name]
        torch.set_num_threads(1)

        def features() -> tuple[FeatureNetwork, str]:
            if name not in self._networks:
                self._networks[name] = feature_network(folder.storage, folder.protocol, name, prepared.data)
            return self._networks[name]

        public = public_images(
            folder.protocol, spec, {name: held.data for name, held in self._prepared.items()}
        )
        model = ModelRun(folder.storage, folder.protocol, spec, prepared, features, on_progress, public)
        try:
            about = model.run()
        except (
            ArgumentTypeError,
            ArgumentValueError,
        ) as error:  # of this model's arrays: the others continue
            raise RunError(f"{task}: {error}") from error
        record = {"format": FORMAT, "model": task, **about, **machine(), **sign_manifest(started)}
        write_manifest(folder.storage, task, seal(record))
        model.clear()
        return Counts(1)


def machine() -> dict[str, str]:
    """Return what the bytes of a result depend on besides the protocol: the processor and the versions."""
    return {
        "processor": platform.processor() or platform.machine(),
        "instruction_set": str(torch.backends.cpu.get_cpu_capability()),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


class StudyJob:
    """A study, as its launcher sees it."""

    noun = "model"

    def __init__(
        self, start: StudyStart, *, retry: bool = False, finished: str = "", quiet: bool = False
    ) -> None:
        """``retry`` does models again that were given up; ``finished`` is a study whose models are taken over."""
        self.start = start
        self.work = StudyWork(start.protocol)
        self._retry = retry
        self._finished = finished
        self._quiet = quiet
        self._progress: Progress | None = None

    def open(self, identity: Identity) -> StudyFolder:
        """Start or resume the study, and remove what killed writers left."""
        folder = self.start.open(identity)
        folder.storage.clean()
        manifests = folder.manifests()
        if self._retry:
            for task, manifest in list(manifests.items()):
                if manifest.get("given_up"):
                    self.forget(folder, task)
                    del manifests[task]
        if self._finished:
            self._take_over(folder)
            manifests = folder.manifests()
        units = {task: count_units(folder.protocol, spec).total for task, spec in folder.specs.items()}
        label = f"study {folder.storage.place.rstrip('/').rpartition('/')[2]}"
        self._progress = Progress(
            sum(units.values()),
            label,
            done=sum(units[task] for task in manifests),
            quiet=self._quiet,
            noun="passes",
        )
        return folder

    def _take_over(self, folder: StudyFolder) -> None:
        found = take_over(folder, StudyFolder.open(self._finished))
        other = (
            f"; {found.other:,} are of other data, or were asked for something else" if found.other else ""
        )
        say(f"{count(found.models, 'model')} taken over from {self._finished}{other}", quiet=self._quiet)

    def tasks(self, folder: StudyFolder) -> Sequence[str]:
        """Return the models' ids, in the protocol's order."""
        return list(folder.specs)

    def give_up(self, folder: StudyFolder, task: str, reason: str, detail: str) -> None:
        """Write a model that failed too often; it has no rows."""
        self._remove_rows(folder, task)
        about = {"format": FORMAT, "model": task, "units": 0, "reason": reason, "detail": detail, **machine()}
        write_manifest(folder.storage, task, seal({**about, **sign_manifest(time.time(), given_up=True)}))

    def forget(self, folder: StudyFolder, task: str) -> None:
        """Remove a model's manifest and rows, so that it is done again."""
        folder.storage.remove(manifest_name(task))
        self._remove_rows(folder, task)
        Pieces(folder.storage, task).clear()

    def _remove_rows(self, folder: StudyFolder, task: str) -> None:
        for table in TABLES:
            folder.storage.remove(rows_name(task, table))

    def on_progress(self, progressed: Progressed) -> None:
        """Show the passes that were made."""
        if self._progress is not None:
            done, kept, spared = progressed
            self._progress.advance(done, kept=kept, spared=spared)

    def close(self) -> None:
        """Close the progress display."""
        if self._progress is not None:
            self._progress.close()

    def useful_workers(self, folder: StudyFolder | None, part: Part | None) -> int:
        """Return how many workers have something to do; at least one, which checks that the study is the same."""
        if folder is None:
            count = len(StudyFolder(self.start.storage, self.start.protocol).specs)
            return max(1, -(-count // part[1]) if part else count)
        again = sum(bool(m.get("given_up")) for m in folder.manifests().values()) if self._retry else 0
        return max(1, len(list_pending(self, folder, part)) + again)


def first_failure(folder: StudyFolder) -> str | None:
    """Return the last line of the first model's error that was given up; None if none was."""
    for task in folder.specs:
        try:
            manifest = read_manifest(folder.storage, task)
        except FileNotFoundError:
            continue
        if manifest.get("given_up"):
            return f"{task}: {str(manifest.get('detail', '')).strip().rpartition(chr(10))[2]}"
    return None
