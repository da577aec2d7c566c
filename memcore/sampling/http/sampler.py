"""The sampler of a model behind HTTP."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from memcore import arrays
from memcore.errors import ArgumentValueError, ConfigError, StoppedError, TransientError
from memcore.images.constant import flag_constant
from memcore.images.decode import decode
from memcore.images.reasons import UnreadableImage
from memcore.sampling import transient
from memcore.sampling.http.concurrency import run_side_by_side
from memcore.sampling.http.endpoint import check_endpoint
from memcore.sampling.http.exchange import Exchange
from memcore.sampling.http.failure import REFUSED, Failure
from memcore.sampling.http.options import check_told, make_headers, make_images_api
from memcore.sampling.http.patience import Gate
from memcore.sampling.http.protocols import NOT_TAKEN, Dialect, MemcoreApi, Shape
from memcore.sampling.received import Answer, Received
from memcore.types import Images, Request, SampleNote

#: Images at the beginning of a prompt that must all be refused before no more of it are asked for.
REFUSED_FIRST = 10
#: Useless answers in a row, and prompts in a row that the server does not take, that end a run: all others would be so too.
_USELESS, _NOT_TAKEN = 12, 10

_log = logging.getLogger("memcore")


class _Outcome(NamedTuple):
    """What became of an image: pixels (H, W, C), or why there are none; whether a safety checker replaced it."""

    pixels: NDArray[np.uint8] | None
    flagged: bool = False
    notes: Sequence[SampleNote] = ()


class HttpSampler:
    """A model behind HTTP: what it answers is received once, written down, and then used.

    Parameters
    ----------
    endpoint
        The server's address, such as ``https://host/v1``.
    protocol
        "images": ``POST images/generations``, as hosted services and gateways speak it. "memcore": memcore's own, which
        ``memcore serve-model`` speaks; the server then says the size, the seeds and which model it is.
    token
        Sent as ``Authorization: Bearer TOKEN``; with another ``token_header`` as it is. On the command line only as
        ``env:NAME`` or ``file:PATH``.
    model, height, width, body
        Of the images API: the model's name, the size in pixels, and what is added to each request (null takes something
        out, such as ``response_format``).
    seeds, seed_bits
        Of the images API: whether the server takes a ``seed``, and of how many bits. Without seeds, images cannot be made
        again: findings can be computed again from what was received.
    concurrency, per_request
        Requests at a time, and images a request.
    encoding
        Of memcore's protocol: how pictures travel, "png" or "raw", which takes less time and more bytes.
    timeout, tries
        Seconds for a whole answer, and how often an image is asked for whose answers are damaged or of another size.
    ca, trust_env, plain_http
        A file of certificates to trust instead of the system's; whether the environment's proxies, ``.netrc`` and
        certificates count (no); whether a token may travel in clear to another machine (no).

    Raises
    ------
    ConfigError
        From the constructor: an address or an option that cannot be used, a server that speaks another protocol.
    MissingExtraError
        Without httpx.
    TransientError, StoppedError
        From ``sample``: a server that does not answer for minutes; one that refuses the token, or answers with nothing that
        can be used. No prompt has failed then.
    """

    #: Images are asked for once: nothing samples one again to compare it, and answers are kept before they are used.
    asks_once = True
    public_options = (
        *("endpoint", "protocol", "model", "height", "width", "seeds", "seed_bits", "body", "tries"),
    )

    def __init__(
        self,
        endpoint: str,
        *,
        protocol: str = "images",
        token: str | None = None,
        token_header: str = "Authorization",
        model: str = "",
        height: int | None = None,
        width: int | None = None,
        seeds: bool = False,
        seed_bits: int = 32,
        body: Mapping[str, Any] | None = None,
        concurrency: int = 4,
        per_request: int | None = None,
        encoding: str = "png",
        timeout: float = 120.0,
        tries: int = 3,
        ca: str | None = None,
        trust_env: bool = False,
        plain_http: bool = False,
    ) -> None:
        if protocol not in ("images", "memcore"):
            raise ConfigError(f"protocol must be 'images' or 'memcore', got {protocol!r}")
        if encoding not in ("png", "raw"):
            raise ConfigError(f"encoding must be 'png' or 'raw', got {encoding!r}")
        if token is not None and (
            not isinstance(token, str) or not token.isascii() or not token.isprintable()
        ):
            raise ConfigError("token must be a text of printable ASCII characters")
        self._concurrency = arrays.check_count(concurrency, "concurrency", 1, 256)
        self._tries = arrays.check_count(tries, "tries", 1, 100)
        if per_request is not None:
            arrays.check_count(per_request, "per_request", 1, 1024)
        if not isinstance(timeout, int | float) or not (math.isfinite(timeout) and timeout > 0):
            raise ArgumentValueError(f"timeout must be a number of seconds above 0, got {timeout!r}")
        self._endpoint = check_endpoint(endpoint, has_token=token is not None, plain_http=plain_http)
        self._exchange = Exchange(
            make_headers(token, token_header),
            timeout=float(timeout),
            connections=self._concurrency,
            ca=ca,
            trust_env=trust_env,
        )
        if protocol == "images":
            self._dialect: Dialect = make_images_api(
                self._endpoint, model, height, width, seeds, seed_bits, per_request, body
            )
        else:
            self._dialect = self._meet(per_request, encoding)
            check_told(self._dialect.shape, height, width, model, body)
        self._protocol = protocol
        self.image_shape: Shape = self._dialect.shape
        self.conditions, self.needed_conditions, self.masks_hide = self._dialect.taken
        #: Why a run with conditions is refused, of a protocol that carries none.
        self.no_conditions = (
            "the images API has a prompt and nothing else that images are made from; memcore serve-model and "
            "protocol='memcore' carry labels, images and masks"
            if protocol == "images"
            else ""
        )
        #: Whether an image can be made again from its seed.
        self.takes_seeds = self._dialect.seed_bits is not None
        if self._dialect.seed_bits is not None:
            self.seed_bits = self._dialect.seed_bits
        identity = {
            "protocol": protocol,
            "endpoint": self._endpoint.url,
            "image_shape": list(self.image_shape),
            "seeds": self.takes_seeds,
            "tries": self._tries,
            "body": dict(body or {}),
            **self._dialect.identity(),
        }
        self.fingerprint = f"http {json.dumps(identity, sort_keys=True)}"
        self._gate = Gate()
        self._received = Received()
        self._lock = threading.Lock()
        self._outcomes: dict[tuple[int, int], _Outcome] = {}
        #: Of each prompt's first images, by seed, whether the server refused it.
        self._first: dict[int, dict[int, bool]] = {}
        self._useless = 0
        self._not_taken: set[int] = set()

    def __repr__(self) -> str:
        """Return one line."""
        return f"HttpSampler({self._endpoint.url!r}, protocol={self._protocol!r}, image_shape={self.image_shape})"

    def describe(self) -> dict[str, str]:
        """Return what the run's run.toml says of the sampler."""
        again = "from its seed" if self.takes_seeds else "no: the server takes no seeds"
        return {
            "kind": "http",
            "protocol": self._protocol,
            "endpoint": self._endpoint.url,
            "image_shape": "x".join(map(str, self.image_shape)),
            "an image can be made again": again,
            **self._dialect.describe(),
        }

    def keep_in(self, received: Received) -> None:
        """Keep answers there, and take from there what was received before. Prompts begin from their first image."""
        self._received = received
        self._outcomes.clear()
        self._first.clear()

    def close(self) -> None:
        """Close all connections."""
        self._exchange.close()

    def sample(self, requests: Sequence[Request]) -> Images:
        """Return (N, H, W, C) uint8, in the order of the requests; ``broken`` are those that no picture came of."""
        wanted = [r for r in requests if not self._is_refused(r.prompt_id) and self._outcome(r) is None]
        run_side_by_side(self._dialect.parcels(wanted), self._settle, self._concurrency)
        pixels = np.zeros((len(requests), *self.image_shape), np.uint8)
        flagged, broken = (np.zeros(len(requests), np.bool_) for _ in range(2))
        notes: list[SampleNote] = []
        for index, request in enumerate(requests):
            outcome = self._take(request)
            notes += outcome.notes
            if outcome.pixels is None:
                broken[index] = True
            else:
                pixels[index] = outcome.pixels
                flagged[index] = outcome.flagged
        notes += self._received.failures(dict.fromkeys(r.prompt_id for r in requests))
        self._received.used(requests)
        for request in requests:
            self._outcomes.pop((request.prompt_id, request.seed), None)
        flagged |= flag_constant(pixels) | broken
        return Images(pixels, flagged, broken if broken.any() else None, notes)

    def _meet(self, per_request: int | None, encoding: str) -> MemcoreApi:
        """Ask the server which model it serves, with patience."""

        def ask() -> MemcoreApi:
            try:
                return MemcoreApi.meet(self._exchange, self._endpoint, per_request, encoding)
            except Failure as failure:
                if failure.kind == "moment":
                    raise TransientError(str(failure), failure.retry_after) from None
                raise ConfigError(f"the server does not say which model it serves: {failure}") from None

        return transient.patiently(ask)

    def _settle(self, parcel: Sequence[Request], stop: threading.Event) -> None:
        """Ask for images until each has an outcome."""
        left = list(parcel)
        tries, begun = 0, time.monotonic()
        while left and not stop.is_set():
            self._gate.enter(stop)
            if stop.is_set():
                return
            number = self._received.ask(left)
            try:
                answers = self._dialect.ask(self._exchange, left)
            except Failure as failure:
                if not self._is_lasting(failure, number, left, time.monotonic() - begun):
                    tries += 1
                    self._gate.failed(failure, tries, stop)
                    continue
                final = failure.kind != "bad"
                answers = [Answer("", b"", False, failure.code, failure.detail, final)] * len(left)
            self._gate.succeeded()
            self._received.put(number, left, answers)
            self._judge(left)
            tries, begun = 0, time.monotonic()
            left = [r for r in left if self._outcome(r) is None]

    def _is_lasting(self, failure: Failure, number: str, parcel: Sequence[Request], seconds: float) -> bool:
        """Tell whether a failure is an answer about its images, and not one of the moment, which is noted here.

        Raises StoppedError if all requests would fail.
        """
        code, detail = failure.code, failure.detail
        if failure.kind == "account":
            self._received.fail(number, parcel, code, detail, billed=failure.billed)
            raise StoppedError(
                f"the server refuses every request, {failure}. What was received is kept, and no prompt has failed. Once "
                "this is settled, give the same command again: it resumes the run"
            )
        if failure.kind != "moment":
            return True
        if seconds > transient.PATIENCE and not failure.busy and self._gate.is_open:
            return True  # others are answered all the while: it is these images
        self._received.fail(number, parcel, code, detail, billed=failure.billed)
        return False

    def _outcome(self, request: Request) -> _Outcome | None:
        """Return what became of an image; None while it is to be asked for. It depends on the answers alone."""
        key = request.prompt_id, request.seed
        with self._lock:
            if (known := self._outcomes.get(key)) is not None:
                return known
        notes: list[SampleNote] = []
        answers = self._received.answers(request)
        found: _Outcome | None = None
        for answer in answers:
            pixels, code, detail = _read(answer, self.image_shape)
            if pixels is not None:
                found = _Outcome(pixels, answer.flagged, notes)
                break
            notes.append(SampleNote(request.prompt_id, code, detail))
            if answer.final or len(notes) >= self._tries:
                found = _Outcome(None, True, notes)
                break
        if found is not None:
            with self._lock:
                self._outcomes[key] = found
        return found

    def _take(self, request: Request) -> _Outcome:
        """Return an image's outcome; after a refused beginning of its prompt, that it is refused."""
        refused = self._is_refused(request.prompt_id)
        outcome = None if refused else self._outcome(request)
        if outcome is None:
            why = f"not asked for: the first {REFUSED_FIRST} images of the prompt were refused"
            return _Outcome(None, True, [SampleNote(request.prompt_id, REFUSED, why)])
        first = self._first.setdefault(request.prompt_id, {})
        if len(first) < REFUSED_FIRST:
            first[request.seed] = outcome.pixels is None and _is_refusal(outcome.notes[-1].reason)
        return outcome

    def _is_refused(self, prompt_id: int) -> bool:
        """Tell whether a prompt's first images were all refused. Only their order counts, not that of the answers."""
        first = self._first.get(prompt_id, {})
        return len(first) >= REFUSED_FIRST and all(first.values())

    def _judge(self, parcel: Sequence[Request]) -> None:
        """Note whether an exchange brought something. Raises StoppedError where none does any more."""
        answers = [(r, found[-1]) for r in parcel if (found := self._received.answers(r))]
        if not answers:
            return
        with self._lock:
            if any(_read(a, self.image_shape)[1] in ("", REFUSED) for _, a in answers):
                self._useless = 0
                self._not_taken.clear()
                return
            _, code, detail = _read(answers[0][1], self.image_shape)
            if answers[0][1].final:
                self._not_taken |= {r.prompt_id for r in parcel}
            else:
                self._useless += 1
            if self._useless < _USELESS and len(self._not_taken) < _NOT_TAKEN:
                return
        what = f"{_USELESS} answers" if self._useless >= _USELESS else f"{_NOT_TAKEN} prompts"
        raise StoppedError(
            f"{what} in a row brought no picture, the last one: {code}: {detail}. What was received is kept. See that the "
            f"endpoint, the model and the size (height={self.image_shape[0]}, width={self.image_shape[1]}) are right, and "
            "give the same command again: it resumes the run"
        )


def _read(answer: Answer, shape: Shape) -> tuple[NDArray[np.uint8] | None, str, str]:
    """Return an answer's pixels, or None and why: a code and what was found."""
    if not answer.kind:
        return None, answer.code, answer.detail
    if answer.kind == "raw":
        if len(answer.data) != math.prod(shape):
            text = f"{len(answer.data):,} bytes of pixels where {'x'.join(map(str, shape))} is expected"
            return None, "http-wrong-size", text
        return np.frombuffer(answer.data, np.uint8).reshape(shape), "", ""
    try:
        return decode(answer.data, shape=shape), "", ""
    except UnreadableImage as error:
        return None, f"http-{error.reason}", str(error)


def _is_refusal(code: str) -> bool:
    """Tell whether a code says that the server does not take the prompt."""
    return code in (REFUSED, NOT_TAKEN) or (
        code.startswith("http-4") and code.removeprefix("http-").isdecimal()
    )
