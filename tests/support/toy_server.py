"""A server of images over loopback that can die, refuse or break off in the middle, and a sampler that asks it."""

from __future__ import annotations

import http.server
import json
import os
import threading
import urllib.request
from typing import Any

import numpy as np

from memcore.sampling import CallableSampler, transient
from memcore.types import Request
from tests.support.synthetic import SHAPE, SyntheticSampler

#: Seconds before the second question and after the first failure, so that waits are tried and take no time.
BRIEF = 0.01, 0.05


class ToyServer:
    """Answers POST {"prompts", "seeds"} with raw pixels. After ``good`` answers it fails as ``how`` says:

    "dies" closes its port; "503" and "401" answer so; "cut" sends half of each answer. ``start`` repairs it.
    """

    def __init__(self) -> None:
        self.port = 0
        self.answered = 0
        self.images = 0
        self.good, self.how = 10**9, ""
        self._lock = threading.Lock()
        self._server: http.server.ThreadingHTTPServer | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self, good: int = 10**9, how: str = "") -> None:
        """Serve; the port stays the same over its life."""
        self.stop()
        self.good, self.how, self.answered = good, how, 0
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.005,), daemon=True).start()

    def stop(self) -> None:
        server, self._server = self._server, None  # several threads may stop it: one does
        if server is not None:
            server.shutdown()
            server.server_close()

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        toy, sampler = self, SyntheticSampler()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with toy._lock:
                    toy.answered += 1
                    failing = toy.answered > toy.good
                if failing and toy.how in ("401", "503"):
                    self.send_error(int(toy.how), "no longer")
                    return
                if failing and toy.how == "dies":
                    self.close_connection = True
                    threading.Thread(target=toy.stop, daemon=True).start()
                    return
                pairs = zip(asked["prompts"], asked["seeds"], strict=True)
                body = np.stack([sampler._one(Request(0, p, s)) for p, s in pairs]).tobytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if failing else body)
                toy.images += 0 if failing else len(asked["seeds"])

            def log_message(self, *about: Any) -> None:
                pass

        return Handler


def brief_sampler() -> CallableSampler:
    """The sampler of the server at TOY_SERVER, in a process that has little patience."""
    transient.FIRST_WAIT, transient.PATIENCE = BRIEF
    return hosted_sampler(os.environ["TOY_SERVER"])


def hosted_sampler(url: str) -> CallableSampler:
    """A sampler as a user writes it: it knows nothing of outages."""

    def function(prompts: list[str], seeds: list[int]) -> Any:
        data = json.dumps({"prompts": prompts, "seeds": [int(s) for s in seeds]}).encode()
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=10) as answer:
            body = answer.read()
        return np.frombuffer(body, np.uint8).reshape(len(prompts), *SHAPE)

    return CallableSampler(function, SHAPE, "hosted")
