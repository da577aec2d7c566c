"""Who gets what from the server: its own annotators everything that they need, all others nothing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from memcore import cli
from memcore.errors import RunError
from memcore.runs.annotations import Annotations
from tests.support.annotators import Client
from tests.support.browser import FINDINGS, Server, serving

pytest.importorskip("fastapi", reason="fastapi is not installed: memcore-audit[annotate]")

EVENT = {"key": "k1", "item": 0, "label": "copy"}


@pytest.fixture(scope="module")
def server(matched: Path) -> Iterator[Server]:
    with serving(matched) as started:
        yield started


@pytest.fixture
def one(server: Server) -> Client:
    return Client(server, 1)


def test_without_the_token_there_is_nothing(server: Server) -> None:
    nobody = Client(server)
    for path in ("/", "/state", "/image/0", "/enter", "/enter?token=", "/enter?token=x", "/enter?token=%ff"):
        status, _, body = nobody.get(path)
        assert status == 403
        assert b"a picture of thing" not in body
    token = server.links[1].partition("token=")[2]
    for wrong in (token[:-1], token + "x", token.swapcase()):
        assert nobody.get(f"/enter?token={wrong}")[0] == 403
    assert nobody.post(EVENT)[0] == 403
    nobody.cookie = f"memcore_annotate_{server.port}={token}"
    assert nobody.get("/state")[0] == 403, "the link's token is no session"
    for path in ("/docs", "/openapi.json", "/redoc", "/page.html", "/page.py"):
        assert nobody.get(path)[0] == 404


def test_the_cookie_and_the_headers(one: Client) -> None:
    flags = {part.strip().lower() for part in one.set_cookie.split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= flags
    status, headers, _ = one.get("/")
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


def test_foreign_hosts_and_origins_are_refused(one: Client) -> None:
    port = one.server.port
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "127.0.0.1",
        f"127.0.0.1:{port + 1}",
        f"127.0.0.1:{port}.evil.example",
        None,
    ):
        assert one.get("/state", Host=host)[0] in (400, 421)
    assert one.get("/state", Host=f"localhost:{port}")[0] == 200
    for origin in (
        "https://evil.example",
        "null",
        f"http://127.0.0.1:{port + 1}",
        f"http://localhost:{port}",
        None,
    ):
        assert one.post(EVENT, Origin=origin)[0] == 403
    assert one.get("/state", Origin="https://evil.example")[0] == 403
    for kind in ("text/plain", "application/x-www-form-urlencoded", None):
        assert one.post(EVENT, Content_Type=kind)[0] == 415
    assert json.loads(one.get("/state")[2])["given"] == []


def test_wrong_events_are_refused(one: Client) -> None:
    for change in (
        {"item": FINDINGS},
        {"item": -1},
        {"item": "0"},
        {"item": 0.5},
        {"item": True},
        {"label": "yes"},
        {"key": ""},
    ):
        assert one.post({**EVENT, **change})[0] == 422
    for body in (b"", b"{", b"[]", b"null", json.dumps({**EVENT, "annotator": 2}).encode(), b"\xff"):
        assert one.post(body)[0] in (400, 422)
    assert one.post(json.dumps({**EVENT, "key": "x" * 5000}).encode())[0] == 413
    assert one.send("PUT", "/event", b"{}", Origin=one.server.origin)[0] == 405
    assert json.loads(one.get("/state")[2])["given"] == []


def test_the_page_names_nothing_that_its_policy_forbids(one: Client) -> None:
    """N-U5: an icon as data: was an error in the console."""
    import re

    status, headers, body = one.get("/")
    assert status == 200
    assert "img-src 'self'" in headers["content-security-policy"]
    named = re.findall(rb"""(?:href|src)="([^"]*)\"""", body)
    assert len(named) == 3
    for address in named:
        assert address.startswith(b"/"), address
        assert one.get(address.decode())[0] in (200, 204)
    assert Client(one.server).get("/favicon.ico")[0] == 204, "browsers ask for it on every page"


def test_images_only_by_number(one: Client) -> None:
    shown = json.loads(one.get("/state")[2])["items"]
    numbers = [n for item in shown for n in (*item["generations"], *item["training"])]
    assert numbers == list(range(len(numbers)))
    assert len(shown[0]["generations"]) == 16
    assert len(shown[0]["training"]) >= 4
    status, headers, body = one.get("/image/0")
    assert (status, headers["content-type"], body[:4]) == (200, "image/png", b"\x89PNG")
    tricks = [
        str(len(numbers)), "-1", "1.0", "0/../../run.toml", "..%2f..%2frun.toml", "../run.toml", "%2e%2e/run.toml",
        "0%00.png", "/etc/passwd", "0x0", "99999999999999999999", "\u0661".encode().hex(), "",
    ]  # fmt: skip
    for trick in tricks:
        status, _, body = one.get(f"/image/{trick}")
        assert status == 404, trick
        assert b"[run]" not in body


def test_annotators_are_blind(run: Path) -> None:
    with serving(run) as server:
        one, two = Client(server, 1), Client(server, 2)
        assert one.post(EVENT)[0] == 200
        assert one.post(EVENT)[0] == 200, "sent twice, saved once"
        assert one.post({**EVENT, "label": "no"})[0] == 422
        assert one.post({**EVENT, "key": "k2", "item": 1, "label": "no"})[0] == 200
        assert one.post({**EVENT, "key": "k3", "item": 1, "label": None})[0] == 200
        assert json.loads(one.get("/state")[2])["given"] == [[0, "copy"]]
        state = json.loads(two.get("/state")[2])
        assert state["given"] == []
        text = json.dumps(state)
        for word in ("extracted", "l2", "distance", "copy", "eidetic", "train/"):
            assert word not in text, "no verdict of the machine, and none of the other annotator"
        assert set(state["items"][0]) == {"prompt", "size", "generations", "training", "given"}
    with Annotations.open(run) as annotations:
        assert annotations.labels(1) == {0: "copy"}
        assert annotations.labels(2) == {}


def test_rank_order_and_top(matched: Path) -> None:
    from memcore.annotate.gallery import Gallery

    items = Gallery(matched, top=5).items
    assert [i.prompt_id for i in items] == [59, 58, 57, 56, 55], "the smallest mean distance first"


def test_a_full_disk_is_no_saved_answer(run: Path) -> None:
    with serving(run) as server:
        one = Client(server, 1)
        lock = sqlite3.connect(run / "annotations.sqlite", isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")
        lock.execute("PRAGMA busy_timeout = 0")
        status, _, _ = one.post(EVENT)
        assert status == 503, "not saved, so that the page sends it again"
        lock.execute("ROLLBACK")
        assert one.post(EVENT)[0] == 200


def test_only_this_machine_is_answered(server: Server) -> None:
    with open("/proc/net/tcp") as file:
        listening = {line.split()[1] for line in file if line.split()[3] == "0A"}
    assert f"0100007F:{server.port:04X}" in listening
    assert f"00000000:{server.port:04X}" not in listening


def test_runs_that_cannot_be_annotated(matched: Path, run: Path, tmp_path: Path) -> None:
    from memcore.annotate.server import serve

    with pytest.raises(RunError, match="is not a run folder"):
        serve(tmp_path / "none")
    (run / "matches.parquet").unlink()
    with pytest.raises(RunError, match="memcore match"):
        serve(run)
    with serving(matched) as server, pytest.raises(RunError, match="choose another with --port"):
        serve(matched, port=server.port)


def test_the_command(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["annotate", str(run), "--agreement"]) == 2
    assert "has no annotations yet" in capsys.readouterr().err
    with serving(run, top=10) as server:
        one, two = Client(server, 1), Client(server, 2)
        for item in range(10):
            assert (
                one.post({"key": f"a{item}", "item": item, "label": "copy" if item < 6 else "no"})[0] == 200
            )
            assert (
                two.post({"key": f"b{item}", "item": item, "label": "copy" if item < 5 else "no"})[0] == 200
            )
        assert server.interrupt() == 0, "Ctrl-C is how the page is closed (N-X19)"
    assert cli.main(["annotate", str(run), "--agreement"]) == 0
    said = capsys.readouterr().out
    assert "annotator 1: 10 of 10 done, 6 copy, 4 no, 0 unsure" in said
    assert "90.0% agree, Cohen's kappa 0.800, 5 copies to both" in said
    assert "rank 6, prompt 54 'a picture of thing number 5': copy / no" in said
    assert cli.main(["annotate", str(run), "--agreement", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kappa"] == pytest.approx(0.8)
    assert cli.main(["annotate", str(run), "--top", "0"]) == 2
    assert cli.main(["annotate", str(run), "--port", "70000"]) == 2
