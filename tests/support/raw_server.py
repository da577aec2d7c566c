"""A server whose answers are written byte by byte, for what no HTTP library would send."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable

#: Gets the bytes of a request and the connection to answer on.
Answer = Callable[[bytes, socket.socket], None]


class RawServer:
    """Hands each request to ``answer`` and closes the connection. ``requests`` are those that came."""

    def __init__(self, answer: Answer, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self._answer = answer
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.address = f"{'https' if context else 'http'}://127.0.0.1:{self.port}"
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> RawServer:
        return self

    def __exit__(self, *about: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # which ends accept()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection:
                if request := _read(connection):
                    self.requests.append(request)
                    self._answer(request, connection)
        except OSError:
            return


def _read(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (piece := connection.recv(65536)):
            return data
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            while len(body) < int(line.partition(b":")[2]):
                body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def send(*lines: str, body: bytes = b"") -> Answer:
    """Return an answer of a status line and headers, and a body."""

    def answer(request: bytes, connection: socket.socket) -> None:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)

    return answer


def redirect(status: int, location: str) -> Answer:
    """Return a redirect."""
    return send(
        f"HTTP/1.1 {status} Elsewhere", f"Location: {location}", "Content-Length: 0", "Connection: close"
    )


def whole(body: bytes, *headers: str) -> Answer:
    """Return a whole answer."""
    return send("HTTP/1.1 200 OK", f"Content-Length: {len(body)}", "Connection: close", *headers, body=body)
