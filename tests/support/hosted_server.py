"""A server of the images API over loopback that counts what it is asked for, and misbehaves as it is told."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from memcore.runs.pictures import png_bytes
from memcore.types import Request
from tests.support.synthetic import SHAPE, SyntheticSampler

#: What ``misbehave`` may answer, besides "" for a picture and a status such as "500" or "429".
FAULTS = ("500", "429", "cut", "slow", "wrong-size", "broken", "few", "refused", "garbage")
TOKEN = "t0ken-Of-The-Tests"

Misbehave = Callable[[str, int | None, int], str]


def behave(prompt: str, seed: int | None, tries: int) -> str:
    """Answer everything."""
    return ""


class _Quiet(http.server.ThreadingHTTPServer):
    """A server that does not print which clients were killed."""

    def handle_error(self, *about: Any) -> None:
        pass


class HostedServer:
    """Answers POST /v1/images/generations with pictures of ``SyntheticSampler``.

    ``misbehave(prompt, seed, tries)`` says what is wrong with an answer; ``tries`` counts the earlier requests of the same
    image. Without seeds it makes another picture each time. ``slow`` answers come a byte every ``drip`` seconds.
    """

    def __init__(self, misbehave: Misbehave = behave, *, seeds: bool = True, drip: float = 0.05) -> None:
        self.misbehave, self.seeds, self.drip = misbehave, seeds, drip
        #: Requests of each image by prompt and seed, and those that a whole picture was sent for.
        self.asked: Counter[tuple[str, int | None]] = Counter()
        self.sent: Counter[tuple[str, int | None]] = Counter()
        self.images = 0
        self.headers: list[dict[str, str]] = []
        self.bodies: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        self._sampler = SyntheticSampler()
        self._server = _Quiet(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.005,), daemon=True).start()

    def __enter__(self) -> HostedServer:
        return self

    def __exit__(self, *about: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def picture(self, prompt: str, seed: int) -> bytes:
        return png_bytes(self._sampler._one(Request(0, prompt, seed)))

    def items(self, body: dict[str, Any], fault: str) -> list[dict[str, Any]]:
        """Return the items of an answer, with its fault."""
        count = int(body["n"])
        with self.lock:
            first, self.images = self.images, self.images + count
        seeds = [body["seed"]] if "seed" in body else range(first, first + count)
        pictures = [self.picture(body["prompt"], int(seed)) for seed in seeds]
        if fault == "wrong-size":
            pictures = [png_bytes(np.full((8, 8, 3), 7, np.uint8))] * count
        if fault == "broken":
            pictures = [data[: len(data) // 2] for data in pictures]
        if fault == "few":
            pictures = pictures[1:]
        return [{"b64_json": base64.b64encode(data).decode()} for data in pictures]

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        hosted = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                key = body["prompt"], body.get("seed")
                with hosted.lock:
                    hosted.headers.append({name.lower(): value for name, value in self.headers.items()})
                    hosted.bodies.append(body)
                    tries = hosted.asked[key]
                    hosted.asked[key] += 1
                fault = hosted.misbehave(*key, tries)
                if fault == "hold":
                    return
                if fault.isdecimal():
                    self.answer(int(fault), {"error": {"message": f"status {fault}"}})
                elif fault == "refused":
                    error = {"code": "content_policy_violation", "message": "not this"}
                    self.answer(400, {"error": error})
                else:
                    self.answer(200, {"data": hosted.items(body, fault)}, fault)
                    if fault in ("", "few"):
                        with hosted.lock:
                            hosted.sent[key] += 1

            def answer(self, status: int, told: dict[str, Any], fault: str = "") -> None:
                data = b"<html>" if fault == "garbage" else json.dumps(told).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                if status == 429:
                    self.send_header("Retry-After", "0")
                self.end_headers()
                if fault == "cut":
                    self.wfile.write(data[: len(data) // 2])
                    self.wfile.flush()
                    # a reset, as of a server that dies
                    linger = struct.pack("ii", 1, 0)
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    self.close_connection = True
                    self.connection.close()
                elif fault == "slow":
                    self.drip(data)
                else:
                    self.wfile.write(data)

            def drip(self, data: bytes) -> None:
                try:
                    for k in range(len(data)):
                        self.wfile.write(data[k : k + 1])
                        self.wfile.flush()
                        threading.Event().wait(hosted.drip)
                except OSError:
                    self.close_connection = True

            def finish(self) -> None:
                with contextlib.suppress(OSError, ValueError):
                    super().finish()

            def log_message(self, *about: Any) -> None:
                pass

        return Handler


def options(server: HostedServer, **more: Any) -> dict[str, Any]:
    """Return what an HttpSampler of the server is made with."""
    height, width, _ = SHAPE
    return {
        "endpoint": server.address,
        "height": height,
        "width": width,
        "seeds": server.seeds,
        "timeout": 10.0,
        **more,
    }
