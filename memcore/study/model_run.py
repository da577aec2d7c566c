"""One model from its data to its rows: trained, attacked, stored, and resumed wherever it was killed."""

from __future__ import annotations

import io
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.engine.task import OnProgress
from memcore.errors import ConfigError, RunError
from memcore.storage.base import Storage
from memcore.storage.digests import FileDigest, digest_bytes
from memcore.study import measures
from memcore.study.classifier import FeatureNetwork
from memcore.study.data.sets import draw_sets, members_digest
from memcore.study.defences.filtered import filter_rows
from memcore.study.defences.merging import merge_set
from memcore.study.defences.recorded import defence_rows
from memcore.study.folder import asked_digest
from memcore.study.measures import Subject
from memcore.study.models.folder import load_folder
from memcore.study.models.generator import Generator
from memcore.study.models.loaded import LoadedGenerator, load_generator
from memcore.study.models.unet import UNetDenoiser
from memcore.study.pieces import Pieces, Tables
from memcore.study.prepared import PreparedData
from memcore.study.protocols.protocol import ModelSpec, Protocol
from memcore.study.rows import Name, rows_name
from memcore.study.tables import rows_to_bytes
from memcore.study.training.make import Training, new_training
from memcore.study.training.trainer import spans, weights_digest
from memcore.study.units import Units, count_units, samples_needed

#: Samples that are kept together while the others are drawn: what a kill costs at most of a checkpoint's samples.
CHUNK = 4096


class ModelRun:
    """The work on one model. ``run`` does what is left of it.

    ``features`` gives the feature network of the model's data and its digest.
    """

    def __init__(
        self,
        storage: Storage,
        protocol: Protocol,
        spec: ModelSpec,
        prepared: PreparedData,
        features: Callable[[], tuple[FeatureNetwork, str]],
        on_progress: OnProgress,
        public: NDArray[np.uint8] | None = None,
    ) -> None:
        self._storage = storage
        self._protocol = protocol
        self._spec = spec
        self._prepared = prepared
        self._features = features
        self._on_progress = on_progress
        self._pieces = Pieces(storage, spec.id)
        self._files: dict[str, FileDigest] = {}
        self._units: Units = count_units(protocol, spec)
        sets = draw_sets(prepared.data, protocol.data[spec.factors.data], spec.factors, spec.seed)
        self._public = public
        network = features()[0] if spec.factors.merge == "embeddings" else None
        self._merged = merge_set(sets, prepared.data, spec.factors.merge, network)
        self._subject = Subject(protocol, spec, prepared.data, sets)
        self._seconds = {"training": 0.0, "attacks": 0.0}

    def run(self) -> dict[str, Any]:
        """Do what is left, write the rows, and return what the manifest says of them."""
        trainer = self._trainer()
        if trainer is not None:
            self._timed("training", lambda: self._train(trainer))
        model = self._already_trained() if trainer is None else trainer.model
        self._timed("attacks", lambda: self._attack(model, trainer))
        self._store(model, trainer)
        return {
            "units": self._units.total,
            "seconds": {k: round(v, 3) for k, v in self._seconds.items()},
            "files": self._files,
            "data": self._prepared.digest,
            "asked": asked_digest(self._protocol, self._spec),
        }

    def _timed(self, what: str, work: Callable[[], None]) -> None:
        start = time.monotonic()
        work()
        self._seconds[what] += time.monotonic() - start

    def _trainer(self) -> Training | None:
        """Return the model in training, with the state that was saved; None for one that was trained elsewhere."""
        spec, factors = self._spec, self._spec.factors
        if factors.folder or factors.generator:
            return None
        images, labels = self._training_set()
        classes = 0
        if factors.labels == "class":
            classes = max(1, self._prepared.data.classes)
        elif factors.labels == "unique":
            classes = len(self._subject.sets.members) + factors.canaries
        trainer = self._new_trainer(images, labels, classes)
        state = self._pieces.state()
        if state is not None:
            trainer.load_state(state)
            stops = [step for step in spec.checkpoints if step <= trainer.step]
            if any(self._pieces.weights(step) is None for step in stops):  # damaged: train it again
                trainer = self._new_trainer(images, labels, classes)
        self._on_progress(kept=self._training_units(trainer.step))
        return trainer

    def _new_trainer(
        self, images: NDArray[np.uint8], labels: NDArray[np.int64] | None, classes: int
    ) -> Training:
        factors, device = self._spec.factors, self._protocol.device
        seed = (self._spec.seed, factors.half + 1)
        return new_training(factors, images, labels, classes, seed, device, self._public)

    def _training_set(self) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None]:
        subject, sets = self._subject, self._subject.sets
        images = np.concatenate([subject.members, sets.canaries])
        labels = subject.label_members()
        if labels is not None:
            unique = self._spec.factors.labels == "unique"
            own = (
                np.arange(len(sets.canaries)) + len(labels)
                if unique
                else np.zeros(len(sets.canaries), np.int64)
            )
            labels = np.concatenate([labels, own])
        rows = self._merged.sets.rows()
        return images[rows], None if labels is None else labels[rows]

    def _training_units(self, steps: int) -> int:
        return self._units.training * steps // max(1, self._spec.factors.steps)

    def _train(self, trainer: Training) -> None:
        """Train to the end, and save weights at each checkpoint and the state at every interval."""
        stops = self._spec.checkpoints
        for step in spans(trainer.step, self._spec.factors.steps, stops, self._protocol.interval):
            before = self._training_units(trainer.step)
            trainer.run(step - trainer.step)
            if not math.isfinite(trainer.loss):
                raise RunError(f"the training diverged before step {step}: a smaller learning_rate helps")
            if step in stops:
                self._pieces.save_weights(step, trainer.mark())
            self._pieces.save_state(trainer.state())
            self._on_progress(self._training_units(step) - before)

    def _already_trained(self) -> Generator:
        if self._spec.factors.generator:
            shape = self._subject.data.shape
            return load_generator(self._spec.factors.generator, shape, self._protocol.device)
        model = load_folder(Path(self._spec.factors.folder), self._protocol.device)
        if model.shape != self._subject.data.shape:
            folder, shape = self._spec.factors.folder, self._subject.data.shape
            raise ConfigError(
                f"folder={folder!r} makes images of {model.shape}, those of the data are {shape}"
            )
        return model

    def _attack(self, model: Generator, trainer: Training | None) -> None:
        """Do every attack that is not done yet, a piece at a time."""
        last = self._spec.checkpoints[-1]
        for step in self._spec.checkpoints:
            piece = f"step-{step}"
            if self._pieces.has(piece):
                self._on_progress(kept=self._units.sampling)
                continue
            self._load(trainer, step)
            self._pieces.keep(piece, self._at_checkpoint(model, step))
            self._on_progress(self._units.sampling)
        self._load(trainer, last)
        for piece, units, work in (
            ("membership", self._units.losses, self._membership),
            ("inpainting", self._units.inpainting, self._inpainting),
        ):
            if piece not in self._spec.attacks:
                continue
            if self._pieces.has(piece):
                self._on_progress(kept=units)
                continue
            made, axes = work(model)
            self._pieces.keep(piece, made, axes)
            self._on_progress(units)

    def _load(self, trainer: Training | None, step: int) -> None:
        """Make the model that of a checkpoint."""
        if trainer is not None:
            weights = self._pieces.weights(step)
            assert weights is not None  # written before the state that says the step is done
            trainer.load_weights(weights)

    def _at_checkpoint(self, model: Generator, step: int) -> Tables:
        attacks = set(self._spec.attacks)
        made: dict[Any, measures.Rows] = {}
        needed = samples_needed(self._protocol, self._spec)
        if needed:
            with tempfile.TemporaryFile() as file:
                samples = self._draw(model, step, needed, file)
                if "extraction" in attacks:
                    made |= measures.extraction_tables(
                        self._subject, step, samples[: self._protocol.extraction.samples]
                    )
                if "quality" in attacks:
                    made["quality"] = measures.quality_rows(self._subject, step, samples, *self._features())
                if "filter" in attacks:
                    made["filtered"] = filter_rows(self._subject, step, samples, *self._features())
                if "samples" in attacks:
                    made["samples"] = measures.sample_rows(self._subject, step, samples)
                del samples
        if "canaries" in attacks:
            made["canaries"] = measures.canary_rows(self._subject, step, _denoiser(model))
        return made

    def _draw(self, model: Generator, step: int, count: int, file: Any) -> NDArray[np.uint8]:
        """Return samples 0 to ``count`` - 1 of a checkpoint; of many, chunks are kept, and the whole is a file's."""
        if count <= CHUNK:
            return self._sample(model, 0, count)
        whole = np.memmap(file, np.uint8, "w+", shape=(count, *model.shape))
        for chunk, start in enumerate(range(0, count, CHUNK)):
            stop = min(count, start + CHUNK)
            kept = self._pieces.samples(step, chunk)
            if kept is None:
                made = self._sample(model, start, stop)
                sink = io.BytesIO()
                np.save(sink, made, allow_pickle=False)
                self._pieces.save_samples(step, chunk, sink.getvalue())
            else:
                made = np.load(io.BytesIO(kept), allow_pickle=False)
            whole[start:stop] = made
        return whole

    def _sample(self, model: Generator, start: int, stop: int) -> NDArray[np.uint8]:
        labels = self._subject.label_samples(start, stop)
        return model.sample(range(start, stop), self._protocol.extraction.steps, labels)

    def _membership(self, model: Generator) -> tuple[Tables, dict[str, Any] | None]:
        rows, axes = measures.loss_rows(self._subject, _denoiser(model))
        return {"losses": rows}, axes

    def _inpainting(self, model: Generator) -> tuple[Tables, dict[str, Any] | None]:
        return {"inpainting": measures.inpainting_rows(self._subject, _denoiser(model))}, None

    def _store(self, model: Generator, trainer: Training | None) -> None:
        """Write all tables, the model's own row last."""
        spec = self._spec
        pieces = [f"step-{step}" for step in spec.checkpoints] + ["membership", "inpainting"]
        for table, data in self._pieces.joined(pieces).items():
            self._write(table, data)
        images, labels = self._training_set()
        if trainer is None:
            parameters, weights = _describe(model)
            history = [(spec.checkpoints[-1], float("nan"), weights)]
        else:
            parameters, history = trainer.parameters, trainer.history
        row = measures.model_row(
            self._subject,
            parameters=parameters,
            loss=history[-1][1],
            data_digest=self._prepared.digest,
            members_digest=members_digest(images, labels),
            weights=history[-1][2],
        )
        tables: list[tuple[Name, measures.Rows]] = [
            ("members", measures.member_rows(self._subject)),
            ("training", measures.training_rows(history)),
            ("generator", measures.generator_rows(self._subject)),
            ("model", [dict(row)]),
            *defence_rows(self._subject, self._merged),
        ]
        for table, rows in tables:
            if rows:
                self._write(table, rows_to_bytes(table, rows))

    def _write(self, table: Name, data: bytes) -> None:
        name = rows_name(self._spec.id, table)
        self._storage.write(name, data)
        self._files[name] = digest_bytes(data)

    def clear(self) -> None:
        """Remove what is kept of the unfinished model; called once the manifest is there."""
        self._pieces.clear()


def _denoiser(model: Generator) -> UNetDenoiser:
    """Return the model as one that has losses; the protocol's check lets no other be asked for them."""
    assert isinstance(model, UNetDenoiser)
    return model


def _describe(model: Generator) -> tuple[int, str]:
    """Return how many numbers a model that was trained elsewhere has, and the digest of its weights."""
    if isinstance(model, LoadedGenerator):
        return model.parameters, model.digest
    from safetensors.torch import save

    net = _denoiser(model).net
    weights = weights_digest(save({n: t.contiguous().cpu() for n, t in net.state_dict().items()}))
    return sum(p.numel() for p in net.parameters()), weights
