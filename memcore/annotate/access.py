"""Decide who may use the server: it answers this machine only, but any page in its browser could send requests."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from memcore.runs.annotations import ANNOTATORS

#: Bytes of the longest body of a request.
BODY_BYTES = 4096
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Access:
    """A secret link and a secret cookie for each annotator; both are forgotten when the server ends."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cookie = f"memcore_annotate_{port}"  # cookies do not distinguish ports
        self._hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self._tokens = {annotator: secrets.token_urlsafe(32) for annotator in ANNOTATORS}
        self._sessions = {annotator: secrets.token_urlsafe(32) for annotator in ANNOTATORS}

    def link(self, annotator: int) -> str:
        """Return the annotator's link."""
        return f"http://127.0.0.1:{self.port}/enter?token={self._tokens[annotator]}"

    def enter(self, token: str) -> int | None:
        """Return the annotator whose link this is."""
        return _find_holder(self._tokens, token)

    def session(self, annotator: int) -> str:
        """Return the content of the annotator's cookie."""
        return self._sessions[annotator]

    def annotator(self, request: Request) -> int | None:
        """Return who sent the request, by its cookie."""
        return _find_holder(self._sessions, request.cookies.get(self.cookie, ""))

    async def guard(self, request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        """Refuse foreign hosts (a name that was rebound to this machine) and origins, and set the security headers."""
        refusal = self._refusal(request)
        response = refusal or await call_next(request)
        for name, value in _HEADERS.items():
            response.headers[name] = value
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        if host not in self._hosts:
            return PlainTextResponse("This server answers 127.0.0.1 and localhost only.", 421)
        origin = request.headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            return PlainTextResponse("Another page's requests are not answered.", 403)
        if request.method == "POST":
            if origin is None:
                return PlainTextResponse("A request that changes something must name its origin.", 403)
            if request.headers.get("content-type") != "application/json":
                return PlainTextResponse("Content-Type must be application/json.", 415)
            length = request.headers.get("content-length", "")
            chunked = "transfer-encoding" in request.headers  # whose chunks count, and not the length
            if chunked or not length.isdecimal() or int(length) > BODY_BYTES:
                return PlainTextResponse(f"A body must say its length, at most {BODY_BYTES} bytes.", 413)
        return None


def _find_holder(held: Mapping[int, str], given: str) -> int | None:
    """Return whose secret ``given`` is. All are compared, each in constant time."""
    found = None
    for annotator, secret in held.items():
        if hmac.compare_digest(secret.encode(), given.encode("utf-8", "replace")):
            found = annotator
    return found
