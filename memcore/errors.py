"""The exceptions that memcore raises.

    MemcoreError
    ├── ArgumentValueError (ValueError)
    ├── ArgumentTypeError (TypeError)
    ├── DeviceError (RuntimeError)
    ├── IsaError (RuntimeError)
    ├── LibraryNotBuiltError (FileNotFoundError)
    ├── MissingExtraError (ImportError)
    ├── ImagesChangedError (RuntimeError)
    ├── ConfigError (ValueError)
    ├── StoppedError (RuntimeError)
    ├── RunError (RuntimeError)
    │   ├── StoreError
    │   ├── DamagedFileError
    │   └── WorkerError
    └── SamplerError (RuntimeError)

Each message names the argument, what was given and what is accepted.
"""

from __future__ import annotations

from memcore._install import install_command


class MemcoreError(Exception):
    """Base of all memcore exceptions, so that one ``except`` clause can catch them."""


class ArgumentValueError(MemcoreError, ValueError):
    """An argument has the right type but a value that cannot be used: its shape, its range, or a mismatch."""


class ArgumentTypeError(MemcoreError, TypeError):
    """An argument has a type or dtype that is not accepted. Nothing is cast silently."""


class DeviceError(MemcoreError, RuntimeError):
    """Arrays are on different devices, or the requested backend cannot reach their device."""


class IsaError(MemcoreError, RuntimeError):
    """The requested instruction set is unknown, or this CPU does not have it."""


class LibraryNotBuiltError(MemcoreError, FileNotFoundError):
    """The C header or library is missing: the native part of this source tree was not built."""


class MissingExtraError(MemcoreError, ImportError):
    """An optional dependency is not installed; the message holds the command that installs it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        """Make the message "PURPOSE needs the package PACKAGE ...: ", and the command that installs EXTRA here."""
        self.package = package
        self.extra = extra
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed: {install_command(extra)}"
        )


class ImagesChangedError(MemcoreError, RuntimeError):
    """An image that was read again differs from the first reading: its file was changed in the meantime."""


class ConfigError(MemcoreError, ValueError):
    """A run's configuration is incomplete, contradictory, or not the one that the run was started with."""


class StoppedError(MemcoreError, RuntimeError):
    """A run was stopped on purpose: its money is spent, or its server refuses it. The same command resumes it."""


class RunError(MemcoreError, RuntimeError):
    """A run folder is missing, has another format, or is not complete enough for the request."""


class StoreError(RunError):
    """A file of a run could not be written: the disk is full or broken, or the store cannot be reached."""


class DamagedFileError(RunError):
    """A file of a run or of an index is not the one whose digest was recorded when it was written."""


class SamplerError(MemcoreError, RuntimeError):
    """A sampler broke its contract: wrong count, shape or dtype, or it raised."""


class TransientError(SamplerError):
    """A sampler cannot answer for the moment (HTTP 429 or 503, a lost connection): raise it from any sampler.

    memcore waits, at least ``retry_after`` seconds, and asks again. If that does not help, the run ends so that the same
    command resumes it; no prompt fails.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class WorkerError(RunError):
    """A worker process died or raised. Finished shards are safe; the same command resumes the run."""


class OutageError(WorkerError):
    """A run stopped because its sampler does not answer: the same command resumes it, and no prompt has failed."""
