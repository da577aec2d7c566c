"""Requests that no page sends, and files that others hold: the server answers, and nothing is changed."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed: memcore-audit[annotate]")

import uvicorn
from fastapi import FastAPI

from memcore.annotate import timed_protocol
from memcore.runs import annotations_file
from memcore.runs.annotations import FILE, Annotations
from tests.support.annotators import Client
from tests.support.browser import Server, serving


@pytest.fixture(scope="module")
def server(matched: Path) -> Iterator[Server]:
    with serving(matched) as started:
        yield started


@pytest.mark.parametrize(
    "body",
    [
        b'{"key": "k", "item": 9223372036854775808, "label": "copy"}',
        b'{"key": "k", "item": 1e400, "label": "copy"}',
        b'{"key": "k", "item": NaN, "label": "copy"}',
        b'{"key": "k", "item": -1, "label": "copy"}',
        b'{"key": "k", "item": ' + b"1" * 4000 + b', "label": "copy"}',
        b'{"key": "\\ud800", "item": 0, "label": "copy"}',
        b'{"key": "k\\u0000", "item": 0, "label": "copy"}',
        b'{"key": "k", "item": 0, "label": "\\udfff"}',
        b'{"key": "k", "item": 0, "label": NaN}',
        b'{"key": "k", "item": 0, "label": "copy", "more": NaN}',
        b"NaN",
        b"\xff\xfe",
        b"[" * 4000,
        b"",
    ],
    ids=range(14),
)
def test_a_body_that_no_page_sends_is_the_clients_fault(server: Server, body: bytes) -> None:
    status, _, _ = Client(server, 1).post(body)
    assert 400 <= status < 500


def test_a_body_in_chunks_is_refused_whatever_length_it_claims(server: Server) -> None:
    """Its chunks count, and not the length: they could go on until the memory ends."""
    body = b"2710\r\n" + b" " * 10_000 + b"\r\n0\r\n\r\n"
    status, _, _ = Client(server, 1).post(body, Transfer_Encoding="chunked", Content_Length="9")
    assert status == 413


@pytest.mark.parametrize("number", ["9" * 5000, "9" * 30, "-1", "%D9%A1", "1.0", "x"])
def test_a_picture_of_no_number_is_not_found(server: Server, number: str) -> None:
    assert Client(server, 1).get(f"/image/{number}")[0] == 404


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HT", b"POST /event HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"]
)
def test_a_request_that_never_ends_is_closed(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(timed_protocol, "REQUEST_SECONDS", 0.4)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        config = uvicorn.Config(
            FastAPI(), http=timed_protocol.TimedProtocol, log_level="warning", lifespan="off"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            with socket.create_connection(listener.getsockname(), timeout=20) as connection:
                connection.sendall(sent)
                while connection.recv(1 << 16):  # what is answered before, then the end
                    pass
        finally:
            server.should_exit = True
            thread.join()


def test_the_server_ends_while_half_a_body_is_sent() -> None:
    """Uvicorn would wait until the rest of it has arrived."""
    asked = threading.Event()

    async def read_all(scope: Any, receive: Any, send: Any) -> None:
        asked.set()
        while (await receive())["type"] == "http.request":
            pass

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        config = uvicorn.Config(
            read_all, http=timed_protocol.TimedProtocol, log_level="warning", lifespan="off"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        with socket.create_connection(listener.getsockname(), timeout=20) as connection:
            connection.sendall(b"POST /event HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
            assert asked.wait(20)
            server.should_exit = True
            thread.join(10)
            ended = not thread.is_alive()
        thread.join()
    assert ended


def test_the_state_is_answered_while_another_program_writes(server: Server, run: Path) -> None:
    """An answer that waits for the lock holds up nobody who only reads."""
    with serving(run) as started:
        one, two = Client(started, 1), Client(started, 2)
        assert one.post({"key": "first", "item": 0, "label": "copy"})[0] == 200
        other = sqlite3.connect(run / FILE, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        waiting = threading.Thread(target=lambda: one.post({"key": "second", "item": 1, "label": "no"}))
        waiting.start()
        try:
            time.sleep(0.3)  # so that the answer is waiting; without it the test would pass too
            began = time.monotonic()
            status, _, body = two.get("/state")
            assert status == 200
            assert time.monotonic() - began < 5  # the lock is held for as long as this test likes
            assert b'"annotator":2' in body
        finally:
            other.execute("ROLLBACK")
            other.close()
            waiting.join()


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name.startswith(FILE)}


def test_reading_changes_nothing(run: Path) -> None:
    with Annotations.create(run, "digest", [(0, 0), (1, 0)]) as made:
        made.append("a", 1, 0, "copy")
    before = files(run)
    with Annotations.open(run) as opened:
        assert opened.labels(1) == {0: "copy"}
        assert files(run) == before
    assert files(run) == before


@pytest.mark.parametrize("refused", [False, True])
def test_what_a_killed_server_left_is_read(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    """Its last answers are in the log beside the file, also where the folder cannot be written."""
    copied = tmp_path / "copied"
    copied.mkdir()
    with Annotations.create(run, "digest", [(0, 0), (1, 0)]) as made:
        made.append("a", 1, 1, "no")
        for path in run.iterdir():
            if path.name.startswith(FILE) and not path.name.endswith("-shm"):
                shutil.copy(path, copied)
    assert (copied / f"{FILE}-wal").stat().st_size
    if refused:
        really = annotations_file._open_uri

        def open_uri(path: Path, options: str) -> sqlite3.Connection:
            if options == "mode=ro":
                raise sqlite3.OperationalError("unable to open database file")
            return really(path, options)

        monkeypatch.setattr(annotations_file, "_open_uri", open_uri)
    with Annotations.open(copied) as opened:
        assert opened.labels(1) == {1: "no"}


def test_a_picture_of_another_format_is_not_shown(run: Path, tmp_path: Path) -> None:
    """An EPS called .png would start Ghostscript where Pillow opens it; a pipe would wait for ever."""
    pictures = sorted((run / "images").rglob("*.png"))
    pictures[0].write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    pictures[1].unlink()
    os.mkfifo(pictures[1])
    with serving(run) as started:
        one = Client(started, 1)
        answers = [one.get(f"/image/{number}") for number in range(60 * 9)]
    shown = [body for status, _, body in answers if status == 200]
    assert shown
    assert all(body.startswith(b"\x89PNG\r\n") for body in shown)
