"""The sampler of hosted models: what it asks for, what it makes of answers, and what it refuses before it asks."""

from __future__ import annotations

import base64
import json
import socket
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

pytest.importorskip("httpx")

from memcore.errors import ArgumentTypeError, ArgumentValueError, ConfigError, StoppedError, TransientError
from memcore.runs.pictures import png_bytes
from memcore.sampling import transient
from memcore.sampling.http import HttpSampler
from memcore.sampling.named import load_sampler
from memcore.sampling.protocol import Sampler, check_images
from memcore.types import Images, Request
from tests.support.hosted_server import TOKEN, HostedServer, options
from tests.support.raw_server import RawServer, whole
from tests.support.synthetic import SHAPE, SyntheticSampler

REQUESTS = [Request(0, "a red fox", 11), Request(0, "a red fox", 12), Request(3, "rain", 11)]
PICTURE = png_bytes(np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transient, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(transient, "LONGEST_WAIT", 0.002)
    monkeypatch.setattr(transient, "PATIENCE", 0.2)


def made(server: HostedServer, **more: Any) -> HttpSampler:
    return HttpSampler(**options(server, **more))


def test_it_asks_as_the_images_api_is_spoken() -> None:
    with HostedServer() as server:
        sampler = made(server, token=TOKEN, model="small-1", body={"quality": "low", "response_format": None})
        images = sampler.sample(REQUESTS)
        check_images(images, REQUESTS, SHAPE)
        assert isinstance(sampler, Sampler)
        local = SyntheticSampler().sample(REQUESTS)
        assert np.array_equal(images.pixels, local.pixels)
    assert {h["authorization"] for h in server.headers} == {f"Bearer {TOKEN}"}
    first = next(b for b in server.bodies if b["seed"] == 12)
    assert first == {
        "prompt": "a red fox",
        "n": 1,
        "size": "16x16",
        "model": "small-1",
        "seed": 12,
        "quality": "low",
    }
    assert TOKEN not in f"{sampler!r} {sampler.fingerprint} {sampler.describe()}"
    assert sampler.seed_bits == 32


def test_without_seeds_it_asks_for_several_images_of_a_prompt() -> None:
    with HostedServer(seeds=False) as server:
        sampler = made(server, per_request=2)
        assert len(sampler.sample(REQUESTS)) == 3
    asked = sorted((b["prompt"], b["n"], "seed" in b) for b in server.bodies)
    assert asked == [("a red fox", 2, False), ("rain", 1, False)]
    assert not hasattr(sampler, "seed_bits")
    assert "no: the server takes no seeds" in sampler.describe().values()


def test_another_header_holds_the_bare_token() -> None:
    with HostedServer() as server:
        made(server, token=TOKEN, token_header="api-key").sample(REQUESTS)
    assert {h["api-key"] for h in server.headers} == {TOKEN}
    assert not any("authorization" in h for h in server.headers)


def test_fewer_images_than_asked_are_asked_for_again() -> None:
    with HostedServer(lambda prompt, seed, tries: "few" if tries == 0 else "", seeds=False) as server:
        images = made(server, per_request=3).sample([Request(0, "rain", k) for k in range(3)])
    assert images.broken is None
    assert [b["n"] for b in server.bodies] == [3, 1]
    assert [(n.reason, n.detail) for n in images.notes] == [("http-few", "2 of 3 images came")]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("wrong-size", "http-wrong-size"),
        ("broken", "http-truncated"),
        ("few", "http-few"),
        ("garbage", "http-format"),
    ],
)
def test_bad_answers_are_asked_for_again_and_then_left_out(fault: str, code: str) -> None:
    with HostedServer(lambda prompt, seed, tries: fault if seed == 12 else "") as server:
        images = made(server, tries=2).sample(REQUESTS)
    assert images.broken is not None
    assert images.broken.tolist() == [False, True, False]
    assert images.flagged.tolist() == [False, True, False]
    assert server.asked["a red fox", 12] == 2
    assert {(n.prompt_id, n.reason) for n in images.notes} == {(0, code)}


def test_nothing_is_asked_for_twice_within_a_call_that_is_repeated() -> None:
    """A batch that an outage interrupted is repeated by its caller."""
    down = True
    with HostedServer(lambda prompt, seed, tries: "500" if down and prompt == "rain" else "") as server:
        sampler = made(server)
        with pytest.raises(TransientError, match="http-500"):
            sampler.sample(REQUESTS)
        down = False
        assert sampler.sample(REQUESTS).broken is None
    assert server.sent.total() == 3


@pytest.mark.parametrize("words", ["http-402", "http-400", "http-429"])
def test_an_account_without_money_ends_the_run(words: str) -> None:
    error = json.dumps({"error": {"code": "billing_hard_limit_reached", "message": "no more"}}).encode()

    def answer(request: bytes, connection: socket.socket) -> None:
        head = f"HTTP/1.1 {words.removeprefix('http-')} No\r\nContent-Length: {len(error)}\r\n\r\n"
        connection.sendall(head.encode() + error)

    with RawServer(answer) as server:
        sampler = HttpSampler(server.address, height=16, width=16)
        with pytest.raises(StoppedError, match=f"{words}: billing_hard_limit_reached: no more"):
            sampler.sample(REQUESTS[:1])
    assert len(server.requests) == 1


def answered(item: dict[str, Any] | bytes, **more: Any) -> Images:
    """Return what a sampler makes of an answer with one image, which is asked for once."""
    body = item if isinstance(item, bytes) else json.dumps({"data": [item]}).encode()
    with RawServer(whole(body)) as server:
        return HttpSampler(server.address, **{"height": 16, "width": 16, "tries": 1, **more}).sample(
            REQUESTS[:1]
        )


def encoded(data: bytes) -> dict[str, Any]:
    return {"b64_json": base64.b64encode(data).decode()}


def png(width: int, height: int, data: bytes, **chunks: bytes) -> bytes:
    """Return a PNG of a header, one IDAT chunk and an end, whatever they claim."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [
        (b"IHDR", head),
        *((k.encode(), v) for k, v in chunks.items()),
        (b"IDAT", zlib.compress(data, 9)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (encoded(png(60_000, 60_000, b"")), "http-too-large"),
        (encoded(png(8192, 8192, bytes(1 << 20))), "http-wrong-size"),
        (encoded(b"<svg/>"), "http-unreadable"),
        (encoded(b""), "http-few"),
        ({"b64_json": "no base64!"}, "http-format"),
        ({"b64_json": 7}, "http-few"),
        ({}, "http-few"),
        ({"finish_reason": "CONTENT_FILTERED", **encoded(PICTURE)}, "refused-image"),
        ({"error": "blocked by the safety system"}, "refused-image"),
        (b'{"data": [7]}', "http-format"),
        (b'{"data": {}}', "http-format"),
        (b"[" * 300_000, "http-too-large"),
        (b"[" * 20_000, "http-format"),
        (b'{"data": []}', "http-few"),
    ],
)
def test_answers_that_hold_no_picture(item: dict[str, Any] | bytes, code: str) -> None:
    images = answered(item)
    assert images.broken is not None
    assert images.broken.all()
    assert [n.reason for n in images.notes] == [code]


def test_a_bomb_takes_no_memory() -> None:
    """64 MiB of zeros in a picture of 16 x 16: memcore's own reader stops at the size that the header says."""
    import tracemalloc

    bomb = encoded(png(16, 16, bytes(1 << 26)))
    tracemalloc.start()
    answered(bomb)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 16 << 20


def test_a_black_frame_is_flagged() -> None:
    images = answered(encoded(png_bytes(np.zeros(SHAPE, np.uint8))))
    assert images.flagged.all()
    assert images.broken is None


def test_the_address_of_a_picture_is_not_followed() -> None:
    with RawServer(whole(PICTURE)) as other, pytest.raises(StoppedError, match="which is not followed"):
        answered({"url": f"{other.address}/picture.png"})
    assert not other.requests


def test_data_urls_are_read() -> None:
    assert answered({"b64_json": "data:image/png;base64," + encoded(PICTURE)["b64_json"]}).broken is None


WRONG: Sequence[tuple[dict[str, Any], type[Exception], str]] = [
    ({"protocol": "grpc"}, ConfigError, "protocol must be"),
    ({"height": None}, ConfigError, "height and width are missing"),
    ({"height": 0}, ArgumentValueError, "height must"),
    ({"concurrency": 0}, ArgumentValueError, "concurrency must"),
    ({"concurrency": "4"}, ArgumentTypeError, "concurrency must"),
    ({"timeout": float("nan")}, ArgumentValueError, "timeout must"),
    ({"tries": 0}, ArgumentValueError, "tries must"),
    ({"seeds": 1}, ConfigError, "seeds must be true or false"),
    ({"seeds": True, "seed_bits": 64}, ArgumentValueError, "seed_bits must"),
    ({"seeds": True, "per_request": 2}, ConfigError, "a request has one seed"),
    ({"body": {"prompt": "x"}}, ConfigError, "must not hold 'prompt'"),
    ({"body": [1]}, ConfigError, "body must be an object"),
    ({"token": "two\nlines"}, ConfigError, "token must be"),
    ({"token_header": "a b"}, ConfigError, "token_header must be"),
    ({"token": "x", "endpoint": "http://host"}, ConfigError, "in clear"),
    ({"encoding": "jpeg"}, ConfigError, "encoding must be"),
]


@pytest.mark.parametrize(("more", "kind", "words"), WRONG)
def test_options_that_cannot_be_used(more: dict[str, Any], kind: type[Exception], words: str) -> None:
    good = {"endpoint": "https://host/v1", "height": 16, "width": 16}
    with pytest.raises(kind, match=words):
        HttpSampler(**{**good, **more})


def test_by_its_short_name_with_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTED_TOKEN", TOKEN)
    with HostedServer() as server:
        sampler = load_sampler("http", {**options(server), "token": "env:HOSTED_TOKEN"})
        sampler.sample(REQUESTS)
    assert {h["authorization"] for h in server.headers} == {f"Bearer {TOKEN}"}


def test_the_fingerprint_tells_models_apart_and_not_how_they_are_asked() -> None:
    def fingerprint(**more: Any) -> str:
        return HttpSampler(**{"endpoint": "https://host/v1", "height": 16, "width": 16, **more}).fingerprint

    same: list[Callable[[], str]] = [
        lambda: fingerprint(concurrency=9, timeout=3, token="x"),
        lambda: fingerprint(endpoint="https://host/v1/"),
        lambda: fingerprint(per_request=4),
    ]
    assert {make() for make in same} == {fingerprint()}
    others = [
        {"model": "a"},
        {"width": 32},
        {"seeds": True},
        {"body": {"quality": "hd"}},
        {"endpoint": "https://other"},
    ]
    assert len({fingerprint(**more) for more in others} | {fingerprint()}) == 6
