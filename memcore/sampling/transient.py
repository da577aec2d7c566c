"""Samplers that cannot answer for a while: which errors say so, and how long to wait before asking again."""

from __future__ import annotations

import email.utils
import logging
import math
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from memcore.errors import TransientError

#: Seconds before the second question; each further wait is twice as long, up to LONGEST_WAIT.
FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
#: Seconds after the first failure after which the run is ended, so that it can be resumed.
PATIENCE = 300.0
#: Answers of a server that are of the moment: too slow, too early, too many requests; and all from 500 on but those that
#: say that it will never do this.
_STATUSES = {408, 425, 429}
_NEVER = {501, 505}
#: Packages whose errors of a connection do not derive from Python's own.
_CLIENTS = {
    "requests",
    "httpx",
    "httpcore",
    "aiohttp",
    "urllib3",
    "openai",
    "huggingface_hub",
    "botocore",
    "http",
    "ssl",
}
#: Their names for an answer that ended before it was whole, as a server that dies leaves it.
_CUT = {
    *("TransportError", "NetworkError", "ServerDisconnectedError", "ProtocolError", "RemoteProtocolError"),
    *("ChunkedEncodingError", "ClientPayloadError", "IncompleteRead", "SSLEOFError", "SSLZeroReturnError"),
}

T = TypeVar("T")
_log = logging.getLogger("memcore")


def as_transient(error: BaseException) -> TransientError | None:
    """Return a TransientError for an error of the moment: HTTP 408, 425, 429 and 5xx, or a lost connection; else None.

    The errors that it was raised from count as well, since many clients wrap what they met.

    >>> as_transient(ConnectionResetError("reset by peer"))
    TransientError('ConnectionResetError: reset by peer')
    >>> as_transient(ValueError("no such prompt"))
    """
    for cause in _chain(error):
        if isinstance(cause, TransientError):
            return cause
        status = _status(cause)
        if status is not None:
            if status in _STATUSES or (500 <= status < 600 and status not in _NEVER):
                return TransientError(f"HTTP {status}: {cause}", retry_after=_retry_after(cause))
            return None  # an answer, and one that stays
        if isinstance(cause, ConnectionError | TimeoutError) or _lost_connection(cause):
            return TransientError(f"{type(cause).__name__}: {cause}")
    return None


def patiently(ask: Callable[[], T]) -> T:
    """Return what ``ask`` returns; while it raises TransientError, wait and ask again.

    Waits double and are drawn by chance between half of it and all of it, so that workers do not ask all at once.
    Raises TransientError once ``PATIENCE`` seconds are over.
    """
    start = time.monotonic()
    tries, waits = 0, None
    while True:
        tries += 1
        try:
            return ask()
        except TransientError as error:
            waited = time.monotonic() - start
            waits = waits or _waits()
            pause = max(next(waits), error.retry_after or 0.0)
            if waited + pause > PATIENCE:
                raise TransientError(f"{error} (asked {tries} times in {waited:.0f} s)") from error
            _log.warning(
                "memcore: the sampler does not answer: %s. It is asked again in %.1f s", error, pause
            )
            time.sleep(pause)


def _waits() -> Iterator[float]:
    longest = FIRST_WAIT
    while True:
        yield longest * random.uniform(0.5, 1.0)
        longest = min(2 * longest, LONGEST_WAIT)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _status(error: BaseException) -> int | None:
    """Return the HTTP status of an error of requests, httpx, aiohttp, urllib, openai or botocore."""
    response: Any = getattr(error, "response", None)
    metadata = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    found = [
        getattr(response, "status_code", None),
        metadata.get("HTTPStatusCode"),
        *[getattr(error, name, None) for name in ("status_code", "status")],
        getattr(error, "code", None) if "HTTP" in type(error).__name__ else None,
    ]
    return next((s for s in found if type(s) is int and 100 <= s < 600), None)


def _retry_after(error: BaseException) -> float | None:
    """Return the seconds that a server asks for, as a number or as the date when it may be asked again."""
    holder = getattr(error, "response", None)
    holder = (
        error if holder is None else holder
    )  # a response of requests is false where its status is an error
    headers: Any = getattr(holder, "headers", None) or {}
    try:
        said = headers.get("Retry-After")
    except AttributeError:
        return None
    try:
        seconds = float(said)
    except (TypeError, ValueError):
        try:
            seconds = email.utils.parsedate_to_datetime(str(said)).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _lost_connection(error: BaseException) -> bool:
    names = [c.__name__ for c in type(error).__mro__ if c.__module__.partition(".")[0] in _CLIENTS]
    return type(error).__name__ == "URLError" or any(
        "Timeout" in n or "Connect" in n or n in _CUT for n in names
    )
