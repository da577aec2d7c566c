"""docs/hosted.md is followed from start to end, with the demo model as the hosted one."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

pytest.importorskip("diffusers")
pytest.importorskip("httpx")
pytest.importorskip("fastapi")

from memcore.runs.folder import RunFolder
from memcore.runs.received import read_spent
from memcore.sampling.http.sampler import HttpSampler
from memcore.sampling.received import SERVER_REASONS
from memcore.study.dataset import load, load_demo
from tests.support.shell import run_shell

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "hosted.md").read_text("utf-8")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.mark.slow
def test_every_command_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "my-model").symlink_to(load_demo().model)
    captions = [item.caption for item in load(load_demo().folder).items[:2]]
    (tmp_path / "prompts.txt").write_text("".join(f"{caption}\n" for caption in captions))
    port = str(free_port())
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 5
    try:
        for block in blocks:
            more = f"--port {port} --token" if "serve-model" in block else "--token"
            run_shell(block.replace("8766", port).replace("--token", more), tmp_path)
    finally:
        if (tmp_path / "server.pid").exists():
            run_shell('kill "$(cat server.pid)" 2> /dev/null || true', tmp_path)
    run, paid, little = (RunFolder.open(tmp_path / name) for name in ("run", "paid", "little"))
    assert len(run.findings()) == len(paid.findings()) == 2
    assert any(row["status"] == "finding" for row in run.findings())
    assert "no: the server takes no seeds" in paid.meta["sampler"]["describe"].values()
    for folder, cost in ((paid, "0.96"), (little, "0.16")):
        spent = read_spent(folder)
        assert spent is not None
        assert str(spent.cost) == cost
    secret = (tmp_path / "token").read_bytes().strip()
    for file in tmp_path.rglob("*"):
        if file.is_file() and file.name != "token":
            assert secret not in file.read_bytes(), file


def test_the_page_lists_the_options() -> None:
    named = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (\S.*?) \|.*\|.*\|$", PAGE, re.MULTILINE))))
    options = set(HttpSampler.__init__.__annotations__) - {"return"}
    assert options <= named, options - named
    bold = set(re.findall(r"\*\*`(\w+)`\*\*", PAGE))
    assert bold == set(HttpSampler.public_options)


def test_the_reason_codes_are_listed() -> None:
    formats = (ROOT / "docs" / "formats.md").read_text("utf-8")
    for code in (*SERVER_REASONS, "refused", "refused-image"):
        assert f"| `{code}` |" in formats, code
