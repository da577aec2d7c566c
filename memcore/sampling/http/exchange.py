"""One request and its answer: bounded in size and in time, and to no other server than the one that was named."""

from __future__ import annotations

import email.utils
import json
import math
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from memcore._version import __version__
from memcore.errors import ConfigError, MissingExtraError
from memcore.sampling.http.endpoint import check_redirect
from memcore.sampling.http.failure import Failure, of_status, said

try:
    import httpx
except ImportError as missing:
    raise MissingExtraError(missing.name or "httpx", "http", "A model behind HTTP") from None

#: Bytes that are read of an error's body.
_ERROR_BYTES = 1 << 16
#: Redirects of one request that are followed, to the same server.
_REDIRECTS = 3
#: Seconds to connect in.
_CONNECT = 15.0


class Body(NamedTuple):
    """A whole answer: its type, without parameters, and its bytes."""

    kind: str
    data: bytes


class Exchange:
    """A connection pool to one server. Threads may use it side by side.

    ``timeout`` seconds are for a whole answer, also for one that comes a byte at a time. ``ca`` is a file of certificates
    to trust instead of the system's. ``trust_env`` lets the environment's proxies and certificates count.
    """

    def __init__(
        self,
        headers: Mapping[str, str],
        *,
        timeout: float,
        connections: int,
        ca: str | None = None,
        trust_env: bool = False,
    ) -> None:
        self._timeout = timeout
        self._client = httpx.Client(
            headers={"User-Agent": f"memcore/{__version__}", "Accept-Encoding": "identity", **headers},
            timeout=httpx.Timeout(timeout, connect=min(timeout, _CONNECT)),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            follow_redirects=False,
            trust_env=trust_env,
            verify=_certificates(ca),
        )

    def post(self, address: str, body: Mapping[str, Any], limit: int) -> Body:
        """Send JSON and return the answer, at most ``limit`` bytes. Raises Failure."""
        data = json.dumps(body, ensure_ascii=True, separators=(",", ":")).encode()
        return self._send("POST", address, data, limit)

    def get(self, address: str, limit: int) -> Body:
        """Return what is at the address, at most ``limit`` bytes. Raises Failure."""
        return self._send("GET", address, None, limit)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _send(self, method: str, address: str, data: bytes | None, limit: int) -> Body:
        target = address
        for _ in range(_REDIRECTS + 1):
            body, location = self._once(method, target, data, limit)
            if body is not None:
                return body
            try:
                target = check_redirect(address, str(httpx.URL(target).join(location)))
            except ConfigError as error:
                raise Failure("account", "http-redirect", str(error)) from None
            except httpx.InvalidURL:
                raise Failure(
                    "account", "http-redirect", "the server redirects to what is no address"
                ) from None
        raise Failure("account", "http-redirect", f"the server redirects more than {_REDIRECTS} times")

    def _once(self, method: str, address: str, data: bytes | None, limit: int) -> tuple[Body | None, str]:
        """Return the answer, or None and where the server redirects to."""
        sent = {"Content-Type": "application/json"} if data is not None else {}
        end = time.monotonic() + self._timeout
        try:
            with self._client.stream(method, address, content=data, headers=sent) as response:
                return _read(response, end, limit)
        except httpx.TimeoutException as error:
            # one that never reached the server is not billed
            reached = not isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout)
            raise Failure(
                "moment", "http-slow", f"no answer in {self._timeout:g} s", billed=reached
            ) from None
        except httpx.ConnectError as error:
            if _is_untrusted(error):
                raise Failure("account", "http-certificate", said(error)) from None
            raise Failure("moment", "http-connection", said(error)) from None
        except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError, httpx.CloseError) as error:
            raise Failure("moment", "http-cut", said(error) or "the answer broke off", billed=True) from None
        except httpx.HTTPError as error:
            raise Failure("moment", "http-connection", said(error), billed=True) from None


def _read(response: httpx.Response, end: float, limit: int) -> tuple[Body | None, str]:
    status, headers = response.status_code, response.headers
    if status in (307, 308) and "location" in headers:
        return None, headers["location"]
    if 300 <= status < 400:  # 301 to 303 would turn the request into another one
        where = said(headers.get("location", "nowhere"))
        raise Failure("account", f"http-{status}", f"the server redirects to {where}, which is not followed")
    if status != 200:
        body = _bounded(response, end, _ERROR_BYTES, cut=True)
        raise of_status(status, body, read_retry_after(headers.get("retry-after")))
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Failure("bad", "http-format", "the answer is compressed, which was not asked for", billed=True)
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length) > limit:
        raise Failure(
            "bad", "http-too-large", f"{int(length):,} bytes, at most {limit:,} are read", billed=True
        )
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return Body(kind, _bounded(response, end, limit)), ""


def _bounded(response: httpx.Response, end: float, limit: int, *, cut: bool = False) -> bytes:
    """Return the body. One that is too long is a Failure, or is cut."""
    pieces: list[bytes] = []
    size = 0
    for piece in response.iter_raw():
        size += len(piece)
        pieces.append(piece)
        if size > limit:
            if cut:
                break
            raise Failure("bad", "http-too-large", f"more than {limit:,} bytes", billed=True)
        if time.monotonic() > end:
            raise Failure("moment", "http-slow", "the answer comes too slowly", billed=not cut)
    return b"".join(pieces)[:limit]


def read_retry_after(value: str | None) -> float | None:
    """Return the seconds that a server asks for, as a number or as a date; None for anything else.

    >>> read_retry_after("2.5"), read_retry_after("soon"), read_retry_after("Wed, 21 Oct 2015 07:28:00 GMT")
    (2.5, None, 0.0)
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _certificates(ca: str | None) -> ssl.SSLContext:
    """Return a context that verifies the server's certificate and name: there is no way to turn that off."""
    if ca is None:
        return ssl.create_default_context()
    if not Path(ca).is_file():
        raise ConfigError(f"ca={ca} is not a file: give a PEM file of the certificates to trust")
    try:
        return ssl.create_default_context(cafile=ca)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(f"ca={ca} cannot be read as certificates: {error}") from None


def _is_untrusted(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(cause):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
