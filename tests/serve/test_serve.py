"""A served model: an audit over HTTP finds what a local one finds, and only who has the token is answered."""

from __future__ import annotations

import hashlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

pytest.importorskip("httpx")
pytest.importorskip("fastapi")

from memcore.audit import audit
from memcore.cli import main
from memcore.errors import ConfigError
from memcore.runs import layout
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder
from memcore.sampling import transient
from memcore.sampling.http import HttpSampler
from memcore.system import atomic_files
from memcore.types import Request
from tests.support.faulty_disk import QuickDisk
from tests.support.serving import TOKEN, Serving, serving
from tests.support.synthetic import PROMPTS, SHAPE, SyntheticSampler

CONFIG = Config(source="custom", generations=20, batch_size=32, min_clique=3)


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    words = ["--sampler", "tests.support.serving:ServedSampler", "--workers", "2", "--batch-size", "8"]
    with serving(*words, "--token", "env:MODEL_TOKEN") as served:
        yield served


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic_files, "disk", QuickDisk())


def sampler(server: Serving, protocol: str = "memcore", **more: Any) -> HttpSampler:
    size = (
        {}
        if protocol == "memcore"
        else {"height": SHAPE[0], "width": SHAPE[1], "seeds": True, "seed_bits": 53}
    )
    return HttpSampler(server.address, protocol=protocol, token=TOKEN, **size, **more)


def digests(folder: RunFolder) -> list[str]:
    """Return the sha256 of each shard's findings: the shards' names hold the run's digest, which names the server."""
    names = [layout.findings_name(shard.task) for shard in folder.done()]
    return [hashlib.sha256(folder.storage.read(name)).hexdigest() for name in names]


@pytest.mark.parametrize(
    ("protocol", "more"), [("memcore", {}), ("memcore", {"encoding": "raw"}), ("images", {})]
)
def test_findings_are_those_of_a_local_audit_byte_for_byte(
    tmp_path: Path, server: Serving, protocol: str, more: dict[str, Any]
) -> None:
    """The prompt that the sampler refuses has failed here and there."""
    local = audit(
        tmp_path / "local", CONFIG, sampler=SyntheticSampler(fail="rain"), prompts=PROMPTS, quiet=True
    )
    hosted = audit(
        tmp_path / "run", CONFIG, sampler=sampler(server, protocol, **more), prompts=PROMPTS, quiet=True
    )
    assert digests(hosted) == digests(local)
    assert {row["prompt"] for row in hosted.findings() if row["status"] == "failed"} == {"rain"}


def test_it_says_which_model_it_serves(server: Serving) -> None:
    made = sampler(server)
    assert made.image_shape == SHAPE
    assert made.describe()["server fingerprint"] == "synthetic-1"
    assert "synthetic-1" in made.fingerprint
    with pytest.raises(ConfigError, match="the server makes images of 16x16"):
        sampler(server, height=32, width=32)
    with pytest.raises(ConfigError, match="are of protocol='images'"):
        sampler(server, model="other")


def test_a_process_that_dies_is_replaced(server: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transient, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(transient, "PATIENCE", 0.2)
    made = sampler(server)
    for _ in range(2):  # as many as there are processes
        status, body = post(server, "/memcore/v1/images", {"images": [{"prompt": "die"}]})
        assert (status, body["error"]["code"]) == (503, "busy")
    assert made.sample([Request(0, "a door", 1)]).broken is None


def post(server: Serving, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    """Return the status and the content of an answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection = http.client.HTTPConnection(urlsplit(server.address).netloc, timeout=30)
    connection.request("POST", path, data, {name: value for name, value in sent.items() if value})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    try:
        return answer.status, json.loads(text)
    except ValueError:
        return answer.status, text.decode()


ONE = {"images": [{"prompt": "a door", "seed": 1}]}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": TOKEN}, 401),
        ({"Authorization": "Bearer \xff"}, 401),
        ({"Host": "rebound.example"}, 421),
        ({"Origin": "http://127.0.0.1"}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Length": "99999999"}, 413),
    ],
)
def test_who_is_answered(server: Serving, headers: dict[str, str], status: int) -> None:
    for path, body in (("/memcore/v1/images", ONE), ("/v1/images/generations", {"prompt": "a door"})):
        found, told = post(server, path, body, **headers)
        assert found == status, told
        assert TOKEN not in json.dumps(told)


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/memcore/v1/images", {"images": []}, "images: "),
        ("/memcore/v1/images", {"images": [{"prompt": 7}]}, "images.0.prompt: "),
        ("/memcore/v1/images", {"images": [{"prompt": "x", "seed": -1}]}, "images.0.seed: "),
        ("/memcore/v1/images", {"images": [{"prompt": "x", "seed": 2**60}]}, "below 2\\^53"),
        ("/memcore/v1/images", {"images": [{"prompt": "x" * 200_000}]}, "images.0.prompt: "),
        ("/memcore/v1/images", {"images": [{"prompt": "x"}] * 2000}, "images: "),
        ("/memcore/v1/images", {**ONE, "height": 64}, "makes images of 16x16"),
        ("/memcore/v1/images", {**ONE, "encoding": "jpeg"}, "encoding: "),
        ("/memcore/v1/images", {**ONE, "secret": 1}, "secret: "),
        ("/memcore/v1/images", b"{", "JSON"),
        ("/memcore/v1/images", b"[" * 100_000, ""),
        ("/v1/images/generations", {"prompt": "x", "size": "64x64"}, "makes images of 16x16"),
        ("/v1/images/generations", {"prompt": "x", "size": "9" * 5000 + "x1"}, "WIDTHxHEIGHT"),
        ("/v1/images/generations", {"prompt": "x", "n": 0}, "n: "),
        ("/v1/images/generations", {"prompt": "x", "response_format": "url"}, "response_format: "),
        ("/v1/images/generations", {"prompt": "rain"}, "cannot sample 'rain'"),
    ],
)
def test_requests_that_are_not_served_say_why(server: Serving, path: str, body: Any, words: str) -> None:
    status, told = post(server, path, body)
    assert status in (400, 422)
    if words:
        import re

        assert re.search(words, told["error"]["message"])
        assert len(told["error"]["message"]) < 300


def test_one_prompt_that_fails_costs_the_others_nothing(server: Serving) -> None:
    images = [{"prompt": p, "seed": 5} for p in ("a door", "rain", "an old clock")]
    status, told = post(server, "/memcore/v1/images", {"images": images, "encoding": "raw"})
    assert status == 200
    assert [sorted(item) for item in told["images"]] == [["raw"], ["error"], ["raw"]]


def test_a_secret_in_an_error_is_struck_out(server: Serving) -> None:
    _, told = post(server, "/v1/images/generations", {"prompt": "a bug"})
    assert TOKEN not in json.dumps(told)


def test_without_a_seed_each_image_is_another(server: Serving) -> None:
    _, told = post(server, "/v1/images/generations", {"prompt": "a door", "n": 3})
    assert len({item["b64_json"] for item in told["data"]}) == 3
    _, first = post(server, "/v1/images/generations", {"prompt": "a door", "n": 2, "seed": 9})
    _, again = post(server, "/v1/images/generations", {"prompt": "a door", "n": 1, "seed": 9})
    assert first["data"][0] == again["data"][0] != first["data"][1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "give the model's FOLDER, or --sampler"),
        (["a", "--sampler", "b:c"], "give the model's FOLDER, or --sampler"),
        (["nowhere/at/all", "--steps", "1"], "does not exist"),
        (["--sampler", "b:c", "--token", "in-clear"], "give env:NAME or file:PATH"),
        (["--sampler", "b:c", "--token", "env:NOT_SET"], "NOT_SET"),
        (["--sampler", "b:c", "--port", "70000"], "port must be"),
        (["--sampler", "b:c", "--workers", "0"], "workers must be"),
        (["--sampler", "nothing.of.that:name", "--host", "203.0.113.7"], "cannot be used"),
    ],
)
def test_wrong_use(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve-model", *words]) in (1, 2)
    assert says in capsys.readouterr().err


def test_without_a_token_one_is_made() -> None:
    with serving("--sampler", "tests.support.synthetic:SyntheticSampler", "--workers", "1") as served:
        token = served.told["token"]
        assert token is not None
        assert len(token) > 40
        made = HttpSampler(served.address, protocol="memcore", token=token)
        images = made.sample([Request(0, "a door", 1)])
        assert np.array_equal(images.pixels, SyntheticSampler().sample([Request(0, "a door", 1)]).pixels)
        with pytest.raises(ConfigError, match="http-401"):
            HttpSampler(served.address, protocol="memcore", token="another")


def test_a_model_that_cannot_be_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["serve-model", "--sampler", "tests.support.synthetic:NoSuch", "--workers", "1", "--port", "0"])
        == 1
    )
    assert "the model cannot be served: sampler=tests.support.synthetic:NoSuch: " in capsys.readouterr().err
