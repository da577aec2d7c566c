"""The two protocols: how images are asked for, how many at a time, and what an answer holds."""

from __future__ import annotations

import base64
import binascii
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple, Protocol

from memcore.conditions import CONDITIONS
from memcore.errors import ConfigError
from memcore.sampling.http.endpoint import Endpoint
from memcore.sampling.http.exchange import Body, Exchange
from memcore.sampling.http.failure import REFUSED, Failure, filtered, said
from memcore.sampling.http.given import condition_fields
from memcore.sampling.received import Answer
from memcore.sampling.seeds import MOST_SEED_BITS
from memcore.system.parsing import check_shape, parse_json
from memcore.types import Request

Shape = tuple[int, int, int]
#: Bytes of a picture's file besides its pixels, and of an answer besides its pictures.
_FILE_BYTES, _ANSWER_BYTES = 1 << 16, 1 << 16
#: The size of memcore's own answers about a model.
_MODEL_BYTES = 1 << 20
#: The version of memcore's own protocol.
VERSION = 1
#: The server's sampler did not take the prompt.
NOT_TAKEN = "http-sampler"


class Taken(NamedTuple):
    """What a server's images are made from besides prompts, and without what it makes none; whether masks hide."""

    conditions: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    masks_hide: bool = False


#: Of a server that makes images of prompts alone.
NONE_TAKEN = Taken()


class Dialect(Protocol):
    """A protocol as it is spoken to one server."""

    @property
    def shape(self) -> Shape:
        """Return the shape of the images."""
        ...

    @property
    def seed_bits(self) -> int | None:
        """Return the bits of a seed, None where the server takes no seed."""
        ...

    @property
    def taken(self) -> Taken:
        """Return which conditions the server takes."""
        ...

    def identity(self) -> Mapping[str, str]:
        """Return what tells this model from others, as far as the protocol says it."""
        ...

    def describe(self) -> Mapping[str, str]:
        """Return what is known of the model, for people."""
        ...

    def parcels(self, requests: Sequence[Request]) -> list[list[Request]]:
        """Return the requests in the groups that are asked for at once."""
        ...

    def ask(self, exchange: Exchange, requests: Sequence[Request]) -> list[Answer]:
        """Ask for some images and return an answer for each. Raises Failure."""
        ...


@dataclasses.dataclass(frozen=True)
class ImagesApi:
    """``POST images/generations``, as hosted services and gateways speak it.

    ``per_request`` images are asked for at once where they have no seeds: with a seed, what the others of a request get
    differs from server to server. ``extra`` is added to each request's body; null takes something out of it.
    """

    endpoint: Endpoint
    shape: Shape
    seed_bits: int | None
    model: str
    per_request: int
    extra: Mapping[str, Any]
    #: A request has a prompt and nothing else that images are made from.
    taken: Taken = NONE_TAKEN

    def identity(self) -> Mapping[str, str]:
        """Return the model's name: all that this protocol knows of a model."""
        return {"model": self.model} if self.model else {}

    def describe(self) -> Mapping[str, str]:
        """Return the same."""
        return self.identity()

    def parcels(self, requests: Sequence[Request]) -> list[list[Request]]:
        """Return each request alone, or up to ``per_request`` of one prompt."""
        size = 1 if self.seed_bits is not None else self.per_request
        return [
            part for _, group in groupby(requests, lambda r: r.prompt_id) for part in _cut(list(group), size)
        ]

    def ask(self, exchange: Exchange, requests: Sequence[Request]) -> list[Answer]:
        """Ask for images of one prompt."""
        height, width, _ = self.shape
        body: dict[str, Any] = {
            "prompt": requests[0].prompt,
            "n": len(requests),
            "size": f"{width}x{height}",
            "response_format": "b64_json",
        }
        if self.model:
            body["model"] = self.model
        if self.seed_bits is not None:
            body["seed"] = requests[0].seed
        body |= self.extra
        sent = {name: value for name, value in body.items() if value is not None}
        address = self.endpoint.join(_images_path(self.endpoint.url))
        found = exchange.post(address, sent, _limit(self.shape, len(requests)))
        items = _items(found, "data")
        return _fill([self._read(item) for item in items[: len(requests)]], len(requests))

    @staticmethod
    def _read(item: Mapping[str, Any]) -> Answer:
        text = item.get("b64_json")
        if why := filtered(item):
            return Answer("", code=REFUSED, detail=why, final=True)
        if isinstance(text, str) and text:
            return _decoded("file", text.partition("base64,")[2] if text.startswith("data:") else text)
        if "url" in item:
            raise Failure(
                "account",
                "http-format",
                "the server answers with the address of a picture, which is not followed: response_format=b64_json was "
                "asked for",
                billed=True,
            )
        return Answer("", code="http-few", detail="an image without a picture")


@dataclasses.dataclass(frozen=True)
class MemcoreApi:
    """memcore's own protocol, which ``memcore serve-model`` speaks; docs/hosted.md describes it.

    ``encoding`` is how pictures travel, "png" or "raw"; ``described`` is what the server says of its model.
    """

    endpoint: Endpoint
    shape: Shape
    seed_bits: int | None
    per_request: int
    encoding: str
    described: Mapping[str, str]
    taken: Taken = NONE_TAKEN

    @classmethod
    def meet(
        cls, exchange: Exchange, endpoint: Endpoint, per_request: int | None, encoding: str
    ) -> MemcoreApi:
        """Ask the server what it serves. Raises Failure, and ConfigError for an answer that is of no such server."""
        found = exchange.get(endpoint.join("memcore/v1/model"), _MODEL_BYTES)
        try:
            told = parse_json(found.data)
            check_shape(told, dict[str, Any], "the answer")
            check_shape(told, _Model, "the answer")
            shape = told["image_shape"]
            bits = told["seed_bits"]
            if told["protocol"] != VERSION:
                raise ValueError(
                    f"the server speaks version {told['protocol']} of the protocol, not {VERSION}"
                )
            if min(shape) < 1 or shape[0] * shape[1] > 1 << 26 or shape[2] > 4:
                raise ValueError(f"image_shape is {shape}")
            taken = _taken(told)
            if bits is not None and not 1 <= bits <= MOST_SEED_BITS:
                raise ValueError(f"seed_bits is {bits}")
        except ValueError as error:
            raise ConfigError(
                f"the server does not speak memcore's protocol: {said(error)}. For the images API of hosted services give "
                "protocol='images', with height and width"
            ) from None
        batch = per_request or max(1, min(told["batch"], 1024))
        described = {"fingerprint": told["fingerprint"], **{k: said(v) for k, v in told["describe"].items()}}
        return cls(endpoint, (shape[0], shape[1], shape[2]), bits, batch, encoding, described, taken)

    def identity(self) -> Mapping[str, str]:
        """Return the fingerprint that the server says."""
        return {"server": self.described["fingerprint"]}

    def describe(self) -> Mapping[str, str]:
        """Return what the server says of its model."""
        return {f"server {name}": value for name, value in self.described.items()}

    def parcels(self, requests: Sequence[Request]) -> list[list[Request]]:
        """Return groups of ``per_request``, of any prompts."""
        return _cut(list(requests), self.per_request)

    def ask(self, exchange: Exchange, requests: Sequence[Request]) -> list[Answer]:
        """Ask for some images."""
        height, width, _ = self.shape
        body = {
            "images": [
                {"prompt": r.prompt}
                | ({} if self.seed_bits is None else {"seed": r.seed})
                | condition_fields(r.condition)
                for r in requests
            ],
            "height": height,
            "width": width,
            "encoding": self.encoding,
        }
        found = exchange.post(
            self.endpoint.join("memcore/v1/images"), body, _limit(self.shape, len(requests))
        )
        if len(requests) == 1 and found.kind.startswith("image/"):
            return [Answer("file", found.data)]
        if len(requests) == 1 and found.kind == "application/octet-stream":
            return [Answer("raw", found.data)]
        items = _items(found, "images")
        return _fill([self._read(item) for item in items[: len(requests)]], len(requests))

    @staticmethod
    def _read(item: Mapping[str, Any]) -> Answer:
        if why := filtered(item):
            return Answer("", code=REFUSED, detail=why, final=True)
        for name, kind in (("png", "file"), ("raw", "raw")):
            text = item.get(name)
            if isinstance(text, str) and text:
                return _decoded(kind, text, flagged=item.get("flagged") is True)
        if isinstance(error := item.get("error"), Mapping):
            return Answer("", code=NOT_TAKEN, detail=said(error.get("message", "")), final=True)
        if isinstance(broken := item.get("broken"), str):
            return Answer("", code="broken-image", detail=said(broken), final=True)
        return Answer("", code="http-few", detail="an image without a picture")


@dataclasses.dataclass
class _Model:
    """The answer to ``GET memcore/v1/model``."""

    protocol: int
    fingerprint: str
    image_shape: tuple[int, int, int]
    seed_bits: int | None
    batch: int
    describe: dict[str, str]


def _taken(told: Mapping[str, Any]) -> Taken:
    """Return what a server says of conditions; one of an earlier version takes none."""
    kinds = []
    for name in ("conditions", "needed_conditions"):
        check_shape(found := told.get(name, []), list[str], name)
        if unknown := [kind for kind in found if kind not in CONDITIONS]:
            raise ValueError(f"{name} has {unknown[0]!r}, which this version does not know")
        kinds.append(tuple(found))
    return Taken(kinds[0], kinds[1], told.get("masks_hide") is True)


def _images_path(url: str) -> str:
    """Return what an endpoint lacks of the path: services name theirs with the version, or whole.

    >>> [_images_path(url) for url in ("https://host", "https://host/v1", "https://host/v1/images/generations")]
    ['v1/images/generations', 'images/generations', '']
    """
    if url.endswith("/images/generations"):
        return ""
    return "images/generations" if url.endswith("/v1") else "v1/images/generations"


def _cut(requests: list[Request], size: int) -> list[list[Request]]:
    return [requests[i : i + size] for i in range(0, len(requests), size)]


def _limit(shape: Shape, count: int) -> int:
    """Return the bytes that an answer of ``count`` pictures may have: in base64, and hardly compressed."""
    height, width, _ = shape
    return _ANSWER_BYTES + count * (4 * (height * width * 4 + _FILE_BYTES) // 3 + 1024)


def _items(body: Body, name: str) -> list[Mapping[str, Any]]:
    try:
        told = parse_json(body.data)
    except ValueError as error:
        raise Failure("bad", "http-format", f"the answer is no JSON: {said(error)}", billed=True) from None
    items = told.get(name) if isinstance(told, Mapping) else None
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        raise Failure("bad", "http-format", f"the answer has no list {name!r} of objects", billed=True)
    return items


def _fill(answers: list[Answer], count: int) -> list[Answer]:
    """Return as many answers as images were asked for."""
    got = len(answers)
    few = Answer("", code="http-few", detail=f"{got} of {count} images came")
    return [*answers, *[few] * (count - got)]


def _decoded(kind: str, text: str, *, flagged: bool = False) -> Answer:
    try:
        return Answer(kind, base64.b64decode(text, validate=True), flagged)
    except (binascii.Error, ValueError) as error:
        return Answer("", code="http-format", detail=f"no base64: {said(error)}")


def take_extra(extra: object) -> dict[str, Any]:
    """Return what is added to each request of the images API. Raises ConfigError.

    >>> take_extra({"quality": "standard", "response_format": None})
    {'quality': 'standard', 'response_format': None}
    """
    if not isinstance(extra, Mapping):
        raise ConfigError(f"body must be an object that is added to each request, got {type(extra).__name__}")
    own: Iterable[str] = ("prompt", "n", "size", "seed", "model")
    if taken := sorted(set(own) & set(extra)):
        raise ConfigError(f"body must not hold {taken[0]!r}, which memcore sets itself")
    return dict(extra)
