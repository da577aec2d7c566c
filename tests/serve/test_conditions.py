"""Labels and given images over HTTP: memcore's protocol carries them, and the images API refuses them with the reason."""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx")
pytest.importorskip("fastapi")

from memcore.audit import audit
from memcore.errors import ConfigError
from memcore.runs import layout
from memcore.runs.config import Config
from memcore.runs.folder import RunFolder
from memcore.sampling import Condition
from memcore.sampling.http import HttpSampler
from tests.support.given_pictures import SIDE, picture
from tests.support.served_conditions import make
from tests.support.serving import TOKEN, Serving, serving

CONFIG = Config(source="custom", generations=12, batch_size=8)
PROMPTS = [("", Condition(label, picture(50 + label))) for label in (0, 1, 9)]


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    words = ["--sampler", "tests.support.served_conditions:make", "--workers", "1", "--batch-size", "8"]
    with serving(*words, "--token", "env:MODEL_TOKEN") as served:
        yield served


def ask(server: Serving, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    head = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    asked = urllib.request.Request(f"{server.address}/{path}", json.dumps(body).encode(), head)
    try:
        with urllib.request.urlopen(asked) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def findings(folder: RunFolder) -> list[str]:
    names = [layout.findings_name(shard.task) for shard in folder.done()]
    return [hashlib.sha256(folder.storage.read(name)).hexdigest() for name in names]


def test_findings_are_those_of_a_local_audit(tmp_path: Path, server: Serving) -> None:
    local = audit(tmp_path / "local", CONFIG, sampler=make(), prompts=PROMPTS, quiet=True)
    hosted = HttpSampler(server.address, protocol="memcore", token=TOKEN)
    assert (hosted.conditions, hosted.needed_conditions) == (("label", "image"), ("label", "image"))
    run = audit(tmp_path / "run", CONFIG, sampler=hosted, prompts=PROMPTS, quiet=True)
    assert [row["status"] for row in run.findings()] == ["none", "finding", "failed"]
    assert findings(run) == findings(local)


def test_the_images_api_refuses_a_run_with_conditions(tmp_path: Path, server: Serving) -> None:
    made = HttpSampler(server.address, token=TOKEN, height=SIDE, width=SIDE)
    with pytest.raises(ConfigError, match="the images API has a prompt and nothing else"):
        audit(tmp_path / "run", CONFIG, sampler=made, prompts=PROMPTS, quiet=True)


def test_the_server_says_what_it_needs_and_does_not_take(server: Serving) -> None:
    status, answer = ask(server, "v1/images/generations", {"prompt": "a dog"})
    assert (status, answer["error"]["code"]) == (422, "condition")
    assert "makes images from a given image" in answer["error"]["message"]
    item = {"prompt": "", "label": 1, "image": "bm90IGEgcGljdHVyZQ=="}
    status, answer = ask(server, "memcore/v1/images", {"images": [item]})
    assert status == 422
    assert "image is no PNG in base64" in answer["error"]["message"]
    status, answer = ask(server, "memcore/v1/images", {"images": [{**item, "mask": item["image"]}]})
    assert status == 422
