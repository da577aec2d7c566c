"""Who may use the server: who knows its token, and names the host that it answers for."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

#: Bytes of the longest request.
BODY_BYTES = 4 << 20

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guard:
    """An ASGI application around another one: it refuses requests without the token, of other hosts, and long ones.

    ``hosts`` are the names that a request may give, None for any: a page in a browser of this machine can send requests to
    it under a name that was bound to it, so a server on the loopback answers its own names only.
    """

    def __init__(self, app: App, token: str | None, hosts: tuple[str, ...] | None) -> None:
        self._app = app
        self._token = token
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request or hand it on."""
        if scope["type"] != "http":
            return
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        status, text = self._refusal(scope["method"], headers)
        if not status:
            await self._app(scope, receive, send)
            return
        body = text.encode()
        challenge = [(b"www-authenticate", b"Bearer")] if status == 401 else []
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    (b"content-type", b"text/plain; charset=utf-8"),
                    (b"content-length", str(len(body)).encode()),
                    (b"connection", b"close"),
                    *challenge,
                ],
            }
        )
        await send({"type": "http.response.body", "body": body})

    def _refusal(self, method: str, headers: dict[str, str]) -> tuple[int, str]:
        if self._hosts is not None and headers.get("host", "") not in self._hosts:
            return 421, "This server answers for this machine's own names only."
        if "origin" in headers:  # a page in a browser; a client sends none
            return 403, "Requests of web pages are not answered."
        if self._token is not None:
            given = headers.get("authorization", "")
            if not hmac.compare_digest(given.encode("utf-8", "replace"), f"Bearer {self._token}".encode()):
                return 401, "The token is missing or wrong."
        if method == "POST":
            if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
                return 415, "Content-Type must be application/json."
            length = headers.get("content-length", "")
            if not length.isdecimal() or int(length) > BODY_BYTES:
                return 413, f"A request must say its length, at most {BODY_BYTES} bytes."
        return 0, ""
