"""What the commands say of a hosted model: its cost beforehand, while it runs and afterwards, and what they refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("httpx")

from memcore.cli import main
from memcore.runs import layout
from memcore.runs.folder import RunFolder
from tests.support.hosted_server import TOKEN, HostedServer, options
from tests.support.synthetic import PROMPTS


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOSTED_TOKEN", TOKEN)
    (tmp_path / "prompts.txt").write_text("".join(f"{p}\n" for p in PROMPTS[:3]))
    return tmp_path


def words(folder: Path, server: HostedServer, run: str = "run") -> list[str]:
    made = json.dumps({**options(server), "token": "env:HOSTED_TOKEN"})
    return [
        *(
            "audit",
            str(folder / run),
            "--prompts",
            str(folder / "prompts.txt"),
            "--quiet",
            "--min-clique",
            "3",
        ),
        *("--sampler", "http", "--sampler-options", made, "--generations", "20", "--batch-size", "16"),
    ]


def test_what_was_spent_is_said(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = prepared / "run"
    with HostedServer() as server:
        limited = [*words(prepared, server), "--price-per-image", "0.05"]
        assert main([*limited, "--max-cost", "1.5"]) == 3
        stopped = capsys.readouterr().err
        assert "1.50 of max-cost=1.5 is spent or asked for" in stopped
        assert main(["status", str(run)]) == 0
        assert "spent: 1.50 for 30 images received" in capsys.readouterr().out
        assert main([*limited, "--max-cost", "9"]) == 0
        out = capsys.readouterr().out
        assert "spent: 3.00 for 60 images received" in out
        assert set(server.asked.values()) == {1}
    pytest.importorskip("jinja2")
    assert main(["report", str(run)]) == 0
    page = (run / "report" / "index.html").read_text("utf-8")
    assert "Spent: 3.00 for 60 images received." in page
    assert TOKEN not in page


def test_a_plan_says_the_cost_and_asks_for_four_images(
    prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with HostedServer() as server:
        made = json.dumps({**options(server), "token": "env:HOSTED_TOKEN"})
        config = prepared / "hosted.toml"
        config.write_text(
            f'sampler = "http"\nsampler_options = \'{made}\'\nprompts = "{prepared / "prompts.txt"}"\ngenerations = 20\n'
        )
        assert main(["plan", str(config), "--price-per-image", "0.05"]) == 0
        assert server.asked.total() == 4
        out = capsys.readouterr().out
        assert "these images were asked for at 0.05 each: 0.20 was spent on measuring" in out
        assert "images cost 3.00" in out
        assert main(["plan", str(config), "--price-per-image", "0.05", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
    assert told["budgets"]["fixed"]["images_cost"] == "3.00"
    assert told["assumed"]["price_per_image"] == "0.05"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--max-cost", "1"], "max_cost needs price_per_image"),
        (["--max-cost", "1", "--price-per-image", "1", "--workers", "2"], "max_cost needs one worker"),
        (["--max-cost", "1", "--price-per-image", "1", "--launcher", "slurm"], "max_cost needs one worker"),
        (
            ["--price-per-image", "free"],
            "price_per_image must be an amount above 0, such as 0.04, got 'free'",
        ),
        (["--price-per-image", "nan"], "price_per_image must be an amount"),
        (["--price-per-image", "-1"], "price_per_image must be an amount"),
        (["--price-per-image", "1", "--max-cost", "1e-999999999999"], "max_cost must be an amount"),
        (["--sampler-options", '{"token": "in-clear"}'], "'token' in clear"),
        (
            ["--sampler-options", '{"endpoint": "https://host", "hight": 3}'],
            "cannot be made with sampler_options",
        ),
    ],
)
def test_wrong_use_is_refused_before_anything_is_asked(
    prepared: Path, more: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with HostedServer() as server:
        assert main([*words(prepared, server), *more]) == 2
        assert says in capsys.readouterr().err
        assert not server.asked
    assert not (prepared / "run" / layout.RUN).exists()


def test_a_price_for_another_sampler_is_refused(prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = [
        "audit",
        str(prepared / "run"),
        "--prompts",
        str(prepared / "prompts.txt"),
        "--price-per-image",
        "1",
    ]
    assert main([*line, "--sampler", "tests.support.synthetic:SyntheticSampler"]) == 2
    assert "price_per_image is of a hosted model" in capsys.readouterr().err


def test_without_httpx_it_says_what_to_install() -> None:
    program = "import sys; sys.modules['httpx'] = None; import memcore.sampling.http"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "A model behind HTTP needs the package 'httpx', which is not installed" in done.stderr
    assert "[http]" in done.stderr


def test_what_a_stranger_wrote_into_received_is_no_traceback(
    prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A record of the right digests whose head is of another form."""
    with HostedServer() as server:
        assert main([*words(prepared, server), "--price-per-image", "0.05", "--max-cost", "1"]) == 3
    folder = RunFolder.open(prepared / "run")
    folder.received(folder.pending()[0]).append({"asked": 7, "images": [], "price": "a lot"}, [])
    capsys.readouterr()
    assert main(["status", str(prepared / "run")]) == 2
    assert "what was received cannot be counted" in capsys.readouterr().err
