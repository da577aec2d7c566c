"""Every exception that memcore raises. Each names the argument, says what was got and what would do."""

from __future__ import annotations


class MemcoreError(Exception):
    """Base of all memcore exceptions, so that one ``except`` clause can catch them."""


class ArgumentValueError(MemcoreError, ValueError):
    """An argument has the right type but a value that cannot be used (shape, range, mismatch)."""


class ArgumentTypeError(MemcoreError, TypeError):
    """An argument has a type or dtype that is not accepted; nothing is cast silently."""


class DeviceError(MemcoreError, RuntimeError):
    """Arrays stand on different devices, or the asked-for backend cannot reach their device."""


class IsaError(MemcoreError, RuntimeError):
    """An instruction set was asked for that is unknown or that this CPU does not have."""


class LibraryNotBuiltError(MemcoreError, FileNotFoundError):
    """The C header or library is asked for in a source tree whose native part was not built."""


class MissingExtraError(MemcoreError, ImportError):
    """An optional dependency is not installed; the message holds the command that installs it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed: pip install 'memcore-audit[{extra}]'"
        )


class ImagesChangedError(MemcoreError, RuntimeError):
    """An image that was read again is not the one that was there before: its file was changed in the meantime."""


class ConfigError(MemcoreError, ValueError):
    """A run's configuration is incomplete, contradictory, or differs from the one that the run started with."""


class RunError(MemcoreError, RuntimeError):
    """A run folder is missing, of another format, or not far enough for what was asked of it."""


class StoreError(RunError):
    """A run's file could not be written: the disk is full or broken, or the store cannot be reached."""


class SamplerError(MemcoreError, RuntimeError):
    """A sampler broke its contract: wrong count, wrong shape, wrong dtype, or it raised."""


class TransientError(SamplerError):
    """A sampler cannot answer for the moment (HTTP 429 or 503, a lost connection): raise it from any sampler.

    memcore waits, at least ``retry_after`` seconds, and asks again. If that does not help, the run ends so that the same
    command resumes it; no prompt fails.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class WorkerError(RunError):
    """A worker process died or raised; finished shards are safe and the same command goes on."""
