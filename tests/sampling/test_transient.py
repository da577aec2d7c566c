"""A sampler that fails for a while costs time, never a prompt."""

from __future__ import annotations

import email.utils
import http.client
import io
import time
import urllib.error
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memcore.audit.run_audit import audit
from memcore.errors import SamplerError, TransientError, WorkerError
from memcore.runs.config import Config
from memcore.sampling import CallableSampler, transient
from memcore.sampling.transient import as_transient, patiently
from memcore.types import Images, Request
from tests.support.synthetic import SHAPE, SyntheticSampler

CONFIG = Config(source="custom", generations=4, batch_size=8, shard_prompts=3, min_clique=3)
PROMPTS = [f"prompt {n}" for n in range(30)]


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were waited, without waiting them."""
    slept: list[float] = []
    clock = [0.0]

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(transient.time, "sleep", sleep)
    monkeypatch.setattr(transient.time, "monotonic", lambda: clock[0])
    return slept


def http_error(status: int, retry_after: str | None = None) -> Exception:
    headers = Message()
    if retry_after is not None:
        headers["Retry-After"] = retry_after
    return urllib.error.HTTPError("http://localhost/", status, "said no", headers, io.BytesIO())


class _Response:
    def __init__(self, status: int) -> None:
        self.status_code = status
        self.headers = {"Retry-After": "7"}

    def __bool__(self) -> bool:
        """As a response of requests: false for an error."""
        return self.status_code < 400


class _OfRequests(OSError):
    """Shaped as an HTTPError of requests or httpx."""

    def __init__(self, status: int) -> None:
        super().__init__("said no")
        self.response = _Response(status)


def wrapped(error: Exception) -> Exception:
    try:
        try:
            raise error
        except Exception as cause:
            raise RuntimeError("my client failed") from cause
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (http_error(429), "HTTP 429"),
        (http_error(503), "HTTP 503"),
        (http_error(599), "HTTP 599"),
        (_OfRequests(502), "HTTP 502"),
        (wrapped(_OfRequests(500)), "HTTP 500"),
        (ConnectionResetError("reset"), "ConnectionResetError"),
        (TimeoutError("late"), "TimeoutError"),
        (urllib.error.URLError("refused"), "URLError"),
        (wrapped(ConnectionRefusedError("down")), "ConnectionRefusedError"),
        (TransientError("busy"), "busy"),
        (http.client.IncompleteRead(b"half", 9), "IncompleteRead"),
        (wrapped(http.client.RemoteDisconnected("gone")), "RemoteDisconnected"),
    ],
)
def test_errors_of_the_moment(error: Exception, text: str) -> None:
    found = as_transient(error)
    assert found is not None
    assert str(found).startswith(text)


@pytest.mark.parametrize(
    "error",
    [
        http_error(400),
        http_error(401),
        http_error(404),
        _OfRequests(403),
        http_error(501),
        ValueError("x"),
        FileNotFoundError("x"),
    ],
)
def test_errors_that_stay(error: Exception) -> None:
    assert as_transient(error) is None


def test_waits_double_with_jitter_and_end(waits: list[float]) -> None:
    def ask() -> None:
        raise TransientError("HTTP 503")

    with pytest.raises(TransientError, match=r"HTTP 503 \(asked \d+ times in \d+ s\)"):
        patiently(ask)
    assert all(0.5 * min(2**n, 60) <= wait <= min(2**n, 60) for n, wait in enumerate(waits))
    assert 150 < sum(waits) <= transient.PATIENCE
    first = list(waits)
    waits.clear()
    with pytest.raises(TransientError):
        patiently(ask)
    assert waits[:3] != first[:3], "workers would ask all at once"


def test_a_server_says_how_long(waits: list[float]) -> None:
    answers = iter([as_transient(http_error(429, "20")), as_transient(_OfRequests(429)), None])

    def ask() -> str:
        if (error := next(answers)) is not None:
            raise error
        return "done"

    assert patiently(ask) == "done"
    assert waits == [20.0, 7.0]


@pytest.mark.parametrize(
    ("said", "waited"),
    [
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("-3", 0.0),
        (email.utils.formatdate(0, usegmt=True), 0.0),
    ],
)
def test_odd_answers_of_how_long(said: str, waited: float | None) -> None:
    error = as_transient(http_error(429, said))
    assert error is not None
    assert error.retry_after == waited


def test_a_server_says_until_when() -> None:
    error = as_transient(http_error(503, email.utils.formatdate(time.time() + 30, usegmt=True)))
    assert error is not None
    assert error.retry_after is not None
    assert 20 < error.retry_after <= 30


def _flaky(fails: Callable[[int], Exception | None]) -> Any:
    """A hosted sampler: its n-th call may fail."""
    calls = [0]
    inner = SyntheticSampler()

    def function(prompts: list[str], seeds: list[int]) -> Any:
        calls[0] += 1
        if (error := fails(calls[0])) is not None:
            raise error
        return np.stack([inner._one(Request(0, p, s)) for p, s in zip(prompts, seeds, strict=True)])

    return CallableSampler(function, SHAPE, "hosted")


def _rows(folder: Any) -> list[Any]:
    return list(folder.findings())


def test_single_failures_cost_no_prompt(tmp_path: Path, waits: list[float]) -> None:
    """N-D1: 503 on the calls 3, 7, 8 and 9 failed every prompt for good."""
    never = audit(tmp_path / "a", CONFIG, sampler=_flaky(lambda n: None), prompts=PROMPTS, quiet=True)
    at = {3: http_error(503), 7: http_error(429), 8: ConnectionResetError("x"), 9: TransientError("x")}
    some = audit(tmp_path / "b", CONFIG, sampler=_flaky(at.get), prompts=PROMPTS, quiet=True)
    assert not some.quarantine()
    assert _rows(some) == _rows(never)
    assert len(waits) == 4


def test_an_outage_after_a_good_start_ends_the_run_resumable(tmp_path: Path, waits: list[float]) -> None:
    down = _flaky(lambda n: http_error(503) if n > 6 else None)
    with pytest.raises(
        WorkerError, match=r"the sampler does not answer: HTTP 503.*\n.*give the same command again"
    ):
        audit(tmp_path / "run", CONFIG, sampler=down, prompts=PROMPTS, quiet=True)
    up = _flaky(lambda n: None)
    folder = audit(tmp_path / "run", CONFIG, sampler=up, prompts=PROMPTS, quiet=True)
    assert not folder.quarantine()
    assert not [row for row in folder.findings() if row["status"] == "failed"]
    never = audit(tmp_path / "never", CONFIG, sampler=up, prompts=PROMPTS, quiet=True)
    assert _rows(folder) == _rows(never)


def test_what_no_waiting_helps_fails_at_once(tmp_path: Path, waits: list[float]) -> None:
    bad = _flaky(lambda n: http_error(400) if n == 1 else None)
    folder = audit(tmp_path / "run", CONFIG, sampler=bad, prompts=PROMPTS[:2], quiet=True)
    assert not folder.quarantine()  # each prompt was asked for on its own
    assert not waits


class _FromPrograms(SyntheticSampler):
    """A sampler of somebody's, which wraps its client's error in memcore's."""

    def sample(self, requests: Any) -> Images:
        super().sample(requests)
        if len(self.batches) == 3:
            raise SamplerError("the endpoint failed") from http_error(502)
        return SyntheticSampler().sample(requests)


def test_a_wrapped_error_is_of_the_moment_too(tmp_path: Path, waits: list[float]) -> None:
    folder = audit(tmp_path / "run", CONFIG, sampler=_FromPrograms(), prompts=PROMPTS, quiet=True)
    assert not folder.quarantine()
    assert len(waits) == 1


class _Refusing(SyntheticSampler):
    """Refuses two prompts for as long as it is told to."""

    def __init__(self, refused: tuple[str, ...]) -> None:
        super().__init__()
        self.refused = refused
        self.asked: set[str] = set()

    def sample(self, requests: Any) -> Images:
        self.asked |= {r.prompt for r in requests}
        if any(r.prompt in self.refused for r in requests):
            raise SamplerError("HTTP 400")
        return super().sample(requests)


@pytest.mark.parametrize("shard", [1, 4, 30])
def test_failed_prompts_are_done_again_in_the_same_run(tmp_path: Path, shard: int) -> None:
    config = Config(
        source="custom", generations=4, batch_size=8, shard_prompts=shard, min_clique=3, keep="all"
    )
    refused = (PROMPTS[2], PROMPTS[9])
    folder = audit(tmp_path / "run", config, sampler=_Refusing(refused), prompts=PROMPTS, quiet=True)
    assert [r["prompt"] for r in folder.findings() if r["status"] == "failed"] == list(refused)
    again = _Refusing(refused[1:])
    folder = audit(tmp_path / "run", config, sampler=again, prompts=PROMPTS, quiet=True, retry_failed=True)
    assert again.asked == set(refused), "a prompt that was finished was sampled again"
    assert [q["prompt_id"] for q in folder.quarantine()] == [9]
    idle = _Refusing(())
    audit(tmp_path / "run", config, sampler=idle, prompts=PROMPTS, quiet=True)
    assert not idle.asked
    folder = audit(
        tmp_path / "run", config, sampler=_Refusing(()), prompts=PROMPTS, quiet=True, retry_failed=True
    )
    never = audit(tmp_path / "never", config, sampler=_Refusing(()), prompts=PROMPTS, quiet=True)
    assert _rows(folder) == _rows(never)
    assert not folder.quarantine()
    images = [{p.relative_to(f.path): p.read_bytes() for p in f.path.rglob("*.png")} for f in (folder, never)]
    assert images[0] == images[1]
