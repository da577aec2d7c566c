"""One request and its answer: bounded in size and time, to the server that was named, over TLS that is verified."""

from __future__ import annotations

import gzip
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx")

from memcore.errors import ConfigError
from memcore.sampling.http.exchange import Exchange
from memcore.sampling.http.failure import Failure
from tests.support.raw_server import Answer, RawServer, redirect, send, whole

TOKEN = "Bearer t0ken-Of-The-Tests"


def post(server: RawServer, path: str = "/v1", *, limit: int = 1000, **more: Any) -> bytes:
    exchange = Exchange({"Authorization": TOKEN}, **{"timeout": 5.0, "connections": 2, **more})
    try:
        return exchange.post(server.address + path, {"prompt": "a dog"}, limit).data
    finally:
        exchange.close()


def failure(answer: Answer, **more: Any) -> Failure:
    with RawServer(answer) as server, pytest.raises(Failure) as failed:
        post(server, **more)
    return failed.value


def test_a_whole_answer() -> None:
    with RawServer(whole(b"{}", "Content-Type: application/json; charset=utf-8")) as server:
        assert post(server) == b"{}"
    (request,) = server.requests
    assert b"Authorization: Bearer t0ken" in request
    assert b"Accept-Encoding: identity\r\n" in request
    assert request.endswith(b'\r\n\r\n{"prompt":"a dog"}')


def drip(request: bytes, connection: socket.socket) -> None:
    """Answer a byte at a time, each in time, and never end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")
    while True:
        connection.sendall(b" ")
        threading.Event().wait(0.01)


def stall(request: bytes, connection: socket.socket) -> None:
    connection.recv(1)


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (drip, "moment", "http-slow"),
        (stall, "moment", "http-slow"),
        (send("HTTP/1.1 200 OK", "Content-Length: 900", body=b"half"), "moment", "http-cut"),
        (send("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=b"9\r\nhalf"), "moment", "http-cut"),
        (send("HTTP/1.1 200 OK", "Content-Length: 5000"), "bad", "http-too-large"),
        (send("HTTP/1.1 200 OK", body=b"x" * 5000), "bad", "http-too-large"),
        (whole(gzip.compress(b"{}"), "Content-Encoding: gzip"), "bad", "http-format"),
        (send("HTTP/9 what"), "moment", "http-cut"),
        (lambda request, connection: None, "moment", "http-cut"),
        (send("HTTP/1.1 500 Broken", "Content-Length: 0"), "moment", "http-500"),
        (send("HTTP/1.1 501 Never", "Content-Length: 0"), "account", "http-501"),
        (send("HTTP/1.1 422 No", "Content-Length: 0"), "prompt", "http-422"),
        (send("HTTP/1.1 401 Who", "Content-Length: 0"), "account", "http-401"),
        (send("HTTP/1.1 204 Empty"), "prompt", "http-204"),
    ],
)
def test_what_goes_wrong_has_a_code(answer: Answer, kind: str, code: str) -> None:
    failed = failure(answer, timeout=0.2)
    assert (failed.kind, failed.code) == (kind, code)


def test_what_may_be_billed() -> None:
    assert failure(drip, timeout=0.1).billed
    assert failure(send("HTTP/1.1 200 OK", "Content-Length: 9"), timeout=0.1).billed
    assert not failure(send("HTTP/1.1 500 Broken", "Content-Length: 0")).billed
    with RawServer(stall) as server:
        pass
    with pytest.raises(Failure) as failed:
        post(server)
    assert (failed.value.code, failed.value.billed) == ("http-connection", False)


def test_an_endless_error_is_cut() -> None:
    def answer(request: bytes, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 403 No\r\n\r\n")
        while True:
            connection.sendall(b"no " * 10_000)

    failed = failure(answer)
    assert failed.code == "http-403"
    assert len(failed.detail) < 500


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after(status: int) -> None:
    failed = failure(send(f"HTTP/1.1 {status} Later", "Retry-After: 7", "Content-Length: 0"))
    assert (failed.kind, failed.retry_after, failed.busy) == ("moment", 7.0, True)


def test_a_redirect_within_the_server_is_followed_with_the_request() -> None:
    def answer(request: bytes, connection: socket.socket) -> None:
        there = request.startswith(b"POST /v2")
        (whole(b"here") if there else redirect(307, "/v2"))(request, connection)

    with RawServer(answer) as server:
        assert post(server) == b"here"
    assert all(b"Authorization" in request and b"a dog" in request for request in server.requests)
    assert len(server.requests) == 2


def test_a_redirect_to_another_server_gets_no_request_at_all() -> None:
    with RawServer(whole(b"thanks")) as other:
        for status in (301, 302, 303, 307, 308):
            failed = failure(redirect(status, f"{other.address}/v1"))
            assert failed.kind == "account"
    assert not other.requests


def test_redirects_do_not_go_round_for_ever() -> None:
    with RawServer(redirect(308, "/v1")) as server, pytest.raises(Failure, match="more than 3 times"):
        post(server)
    assert len(server.requests) == 4


def test_proxies_of_the_environment_count_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(whole(b"proxied")) as proxy, RawServer(whole(b"direct")) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.address)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert post(server) == b"direct"
        assert post(server, trust_env=True) == b"proxied"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody knows, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "cert.pem", folder / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=here"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(made)]
    try:
        subprocess.run(words, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs the command openssl")
    return made, key


def test_certificates_are_verified(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with RawServer(whole(b"here"), context) as server:
        with pytest.raises(Failure) as failed:
            post(server)
        assert (failed.value.kind, failed.value.code) == ("account", "http-certificate")
        assert not server.requests
        assert post(server, ca=str(certificate[0])) == b"here"
        server.address = server.address.replace("127.0.0.1", "localhost")
        with pytest.raises(Failure, match="http-certificate"):  # of another name
            post(server, ca=str(certificate[0]))
    with pytest.raises(ConfigError, match="is not a file"):
        post(server, ca=str(tmp_path / "none.pem"))
    (tmp_path / "bad.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match="cannot be read as certificates"):
        post(server, ca=str(tmp_path / "bad.pem"))
