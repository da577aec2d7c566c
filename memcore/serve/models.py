"""The processes that hold a served model: each makes its sampler once and answers a batch at a time."""

from __future__ import annotations

import contextlib
import multiprocessing
import queue
import signal
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memcore.audit.source import make_source
from memcore.engine.worker import classify
from memcore.errors import ConfigError, MemcoreError, SamplerError, TransientError, WorkerError
from memcore.runs.config import Config
from memcore.sampling.protocol import Sampler, check_images, check_sampler, sampler_conditions
from memcore.sampling.seeds import SEED_BITS, sampler_seed_bits
from memcore.sampling.transient import as_transient
from memcore.sources.by_prompt import StoredPrompts
from memcore.system.credentials import redact
from memcore.system.plain_text import error_text
from memcore.types import Request

#: Makes the sampler within its process; picklable.
Make = Callable[[], Sampler]


class Served(NamedTuple):
    """What a server tells of its model."""

    fingerprint: str
    image_shape: tuple[int, int, int]
    seed_bits: int
    describe: dict[str, str]
    conditions: tuple[str, ...] = ()
    needed_conditions: tuple[str, ...] = ()
    masks_hide: bool = False


class Made(NamedTuple):
    """Images (N, H, W, C) uint8, and which a safety checker replaced, or which hold no picture (N,).

    ``failed`` says of images, by their position, why the sampler did not make them.
    """

    pixels: NDArray[np.uint8]
    flagged: NDArray[np.bool_]
    broken: NDArray[np.bool_]
    failed: dict[int, str]


class ModelProcesses:
    """``count`` processes with a sampler each. Threads may ask side by side: a call takes a process that is idle.

    A process that dies costs the call that it was at (TransientError), and is replaced. Raises WorkerError where the
    sampler cannot be made.
    """

    def __init__(self, make: Make, count: int) -> None:
        self._make = make
        self._context = multiprocessing.get_context("spawn")
        self._processes: list[tuple[Any, Connection]] = []
        self._idle: queue.SimpleQueue[tuple[Any, Connection]] = queue.SimpleQueue()
        begun = [self._start() for _ in range(count)]
        try:
            told = [_ready(connection) for _, connection in begun]
        except BaseException:
            self.close()
            raise
        self.served: Served = told[0]
        for process in begun:
            self._idle.put(process)

    def __len__(self) -> int:
        """Return the number of processes."""
        return len(self._processes)

    def sample(self, requests: Sequence[Request]) -> Made:
        """Return the images. Raises SamplerError if the sampler does, TransientError if its process died."""
        if not self._processes:
            raise WorkerError("no process of the model is left: start the server again")
        process, connection = self._idle.get()
        try:
            connection.send(list(requests))
            kind, value = connection.recv()
        except (EOFError, OSError):
            self._replace(process, connection)
            raise TransientError("the process of the model died; it is started again") from None
        self._idle.put((process, connection))
        if kind == "made":
            return Made(*value)
        raise TransientError(value) if kind == "outage" else SamplerError(value)

    def close(self) -> None:
        """End all processes."""
        for _, connection in self._processes:
            connection.close()  # an idle process ends by itself
        for process, _ in self._processes:
            process.join(1)
            process.terminate()
            process.join(5)
            process.kill()
        self._processes.clear()

    def _start(self) -> tuple[Any, Connection]:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._make), daemon=True)
        process.start()
        theirs.close()
        self._processes.append((process, ours))
        return process, ours

    def _replace(self, process: Any, connection: Connection) -> None:
        self._processes.remove((process, connection))
        connection.close()
        process.kill()
        new = self._start()
        try:
            _ready(new[1])
        except WorkerError:
            self._processes.remove(new)
            new[1].close()
            raise
        self._idle.put(new)


def make_sampler(config: Config) -> Sampler:
    """Make the sampler that a configuration names, for one thread. Raises ConfigError for one of stored images."""
    source = make_source(config, 1)
    if isinstance(source, StoredPrompts):
        raise ConfigError("stored images are no model: memcore filter reads them")
    return source


def describe(sampler: Sampler) -> Served:
    """Return what a server tells of a sampler. Raises ConfigError for an object that is none."""
    check_sampler(sampler)
    height, width, channels = sampler.image_shape
    told: Callable[[], Mapping[str, object]] = getattr(sampler, "describe", dict)
    bits = sampler_seed_bits(sampler) if hasattr(sampler, "seed_bits") else SEED_BITS
    about = {str(name): redact(str(value)) for name, value in dict(told()).items()}
    taken = sampler_conditions(sampler)
    hide = getattr(sampler, "masks_hide", False) is True
    shape = int(height), int(width), int(channels)
    return Served(redact(sampler.fingerprint), shape, bits, about, *taken, hide)


def sample(sampler: Sampler, requests: Sequence[Request]) -> Made:
    """Return a sampler's images on the host. A prompt that it does not take costs no other prompt its images.

    Raises TransientError where it cannot answer for the moment.
    """
    try:
        return _ask(sampler, requests)
    except TransientError:
        raise
    except SamplerError as error:
        prompts = list(dict.fromkeys((r.prompt, r.condition) for r in requests))
        if len(prompts) == 1:
            return _failed(sampler, len(requests), redact(str(error)))
    made = _failed(sampler, len(requests), "")
    made.failed.clear()
    for prompt in prompts:
        places = [i for i, r in enumerate(requests) if (r.prompt, r.condition) == prompt]
        part = sample(sampler, [requests[i] for i in places])
        for name in ("pixels", "flagged", "broken"):
            getattr(made, name)[places] = getattr(part, name)
        made.failed.update({places[i]: text for i, text in part.failed.items()})
    return made


def _ask(sampler: Sampler, requests: Sequence[Request]) -> Made:
    try:
        images = sampler.sample(requests)
    except (Exception, SystemExit, GeneratorExit) as error:
        if (transient := as_transient(error)) is not None:
            raise transient from error
        if isinstance(error, MemcoreError):
            raise
        raise SamplerError(f"the sampler raised {error_text(error)}") from error
    check_images(images, requests, sampler.image_shape)
    pixels = images.pixels.cpu().numpy() if hasattr(images.pixels, "cpu") else np.asarray(images.pixels)
    broken = np.zeros(len(requests), np.bool_) if images.broken is None else images.broken
    return Made(np.ascontiguousarray(pixels), images.flagged, broken, {})


def _failed(sampler: Sampler, count: int, text: str) -> Made:
    lost = np.ones(count, np.bool_)
    pixels = np.zeros((count, *sampler.image_shape), np.uint8)
    return Made(pixels, lost, lost.copy(), dict.fromkeys(range(count), text))


def _ready(connection: Connection) -> Served:
    try:
        kind, value = connection.recv()
    except (EOFError, OSError):
        raise WorkerError("a process of the model died before it had loaded it") from None
    if kind != "ready":
        raise WorkerError(f"the model cannot be served: {value}")
    served: Served = value
    return served


def _serve(connection: Connection, make: Make) -> None:
    """Run one process, until its server is gone."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; the server ends its processes
    try:
        sampler = make()
        connection.send(("ready", describe(sampler)))
    except Exception as error:
        connection.send(("failed", redact(str(error)) or type(error).__name__))
        return
    with contextlib.suppress(EOFError, OSError):
        while True:
            requests = connection.recv()
            try:
                answer: tuple[str, Any] = "made", tuple(sample(sampler, requests))
            except Exception as error:
                kind, text = classify(error)
                # of a traceback, a client learns the last line
                answer = (
                    kind,
                    str(error) if isinstance(error, SamplerError) else text.strip().rpartition("\n")[2],
                )
            connection.send(answer)
