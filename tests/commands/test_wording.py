"""Numbers go with their nouns, help is in groups, and whoever stops or reads a part of the output is answered in words."""

from __future__ import annotations

import errno
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from memcore.cli import COMMANDS, build_parser, main
from memcore.commands._options import GROUPS
from memcore.report import write_report
from memcore.runs.config import Config
from memcore.runs.options import declared
from memcore.system import atomic_files
from memcore.system.progress import Progress
from tests.support.synthetic import write_stored

NOUNS = (
    *(
        "prompts",
        "images",
        "shards",
        "groups",
        "findings",
        "entries",
        "files",
        "captions",
        "generations",
        "texts",
    ),
    *(
        "items",
        "copies",
        "candidates",
        "extractions",
        "cliques",
        "lines",
        "pictures",
        "times",
        "workers",
        "bits",
    ),
)
WRONG = re.compile(rf"(?<![\d.,])\b1 (?:of 1 )?(?:[a-z]+ )?(?:{'|'.join(NOUNS)})\b")


def wrong_numbers(text: str) -> list[str]:
    return WRONG.findall(text)


def test_what_is_wrong_is_found() -> None:
    text = "1 shards, 2 of 2 prompts, 1 of 2 prompts, 11 images, 1 image, 1 of 1 prompts, 1 blank lines, 0.1 files"
    assert wrong_numbers(text) == ["1 shards", "1 of 1 prompts", "1 blank lines"]


def test_one_of_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command on a run, a training set and an index of one."""
    run, images = str(tmp_path / "run"), str(write_stored(tmp_path / "stored", 12, ["a red fox"]))
    train, index = str(tmp_path / "train.npy"), str(tmp_path / "index")
    np.save(train, np.load(next((tmp_path / "stored").glob("*.npy")))[:1])
    (tmp_path / "captions.txt").write_text("a red fox\n")
    captions = ["--captions", str(tmp_path / "captions.txt")]
    commands = [
        ["filter", run, "--images", images, "--min-clique", "3", "--workers", "1"],
        ["status", run],
        ["show", run],
        ["match", run, "--training", train],
        ["show", run, "matches"],
        ["show", run, "failures"],
        ["show", run, "quarantine"],
        ["evaluate", run, "--against", "matches"],
        ["index", index, "--source", train, *captions],
        ["match", run, "--index", index, "--source", train],
        [
            "prompts",
            str(tmp_path / "prompts.parquet"),
            "--index",
            index,
            "--source",
            train,
            "--min-count",
            "1",
        ],
        ["show", str(tmp_path / "prompts.parquet")],
        ["report", run],
        ["fetch", f"file://{run}", str(tmp_path / "copy")],
    ]
    for words in commands:
        assert main(words) in (0, 5), capsys.readouterr().err
        out, err = capsys.readouterr()
        assert wrong_numbers(out + err) == [], (words, out, err)
    page = re.sub(r"<[^>]*>", " ", write_report(Path(run)).read_text("utf-8"))
    assert wrong_numbers(page) == []


def test_one_prompt_that_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "prompts.txt").write_text("rain\n\n")
    words = ["audit", str(tmp_path / "run"), "--sampler", "tests.support.synthetic:SyntheticSampler"]
    words += ["--prompts", str(tmp_path / "prompts.txt"), "--generations", "12", "--workers", "1"]
    assert main([*words, "--sampler-options", '{"fail": "rain"}']) == 5
    out, err = capsys.readouterr()
    assert wrong_numbers(out + err) == []
    assert "1 blank line of the list of prompts left out" in out
    assert main(["status", str(tmp_path / "run")]) == 5
    assert wrong_numbers(capsys.readouterr().out) == []


def test_repeated_prompts_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from memcore.audit.run_audit import audit
    from memcore.commands.audit import _run_lines
    from memcore.runs.summary import summary
    from tests.support.synthetic import SyntheticSampler

    config = Config(source="custom", generations=12)
    texts = ["a fox", "a hill", "a fox"]
    folder = audit(tmp_path / "run", config, sampler=SyntheticSampler(), prompts=texts, quiet=True)
    assert summary(folder)["prompts_repeated"] == 1
    assert "1 prompt repeats an earlier one of the list: each is sampled and counted by itself" in _run_lines(
        summary(folder)
    )


@pytest.mark.parametrize("name", ["audit", "filter"])
def test_help_is_in_groups_with_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    for title in ("what makes the images", "what is a finding", "what is stored"):
        assert f"configuration: {title}:" in text
    assert "\nworkers:\n" in text
    assert "\nexamples:\n  memcore " in text
    options = text.partition("\noptions:\n")[2].partition("\n\n")[0]
    assert len(re.findall(r"^  -", options, re.MULTILINE)) <= 5, "what has no group of its own"


def test_every_option_of_a_configuration_is_in_one_group() -> None:
    named = [name for _, _, names in GROUPS for name in names]
    assert sorted(named) == sorted(name for name, field in declared(Config).items() if field.option.use)


@pytest.mark.parametrize("command", [c for c in COMMANDS if hasattr(c, "EXAMPLES")], ids=lambda c: c.NAME)
def test_examples_are_commands(command: object) -> None:
    for line in command.EXAMPLES:  # type: ignore[attr-defined]
        words = line.partition(" > ")[0].split()
        assert words[0] == "memcore"
        build_parser().parse_args(words[1:])


def test_the_bar_has_the_commands_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """N-U3: that of filter said "audit"."""
    labels: list[str] = []

    class Watched(Progress):
        def __init__(self, total: int, label: str, **options: object) -> None:
            labels.append(label)
            super().__init__(total, label, **options)  # type: ignore[arg-type]

    from memcore.audit import task

    monkeypatch.setattr(task, "Progress", Watched)
    stored = write_stored(tmp_path / "stored", 3, ["a"])
    assert main(["filter", str(tmp_path / "one"), "--images", str(stored), "--workers", "1"]) == 5
    (tmp_path / "prompts.txt").write_text("a\n")
    words = [
        "--sampler",
        "tests.support.synthetic:SyntheticSampler",
        "--prompts",
        str(tmp_path / "prompts.txt"),
    ]
    assert main(["audit", str(tmp_path / "two"), *words, "--generations", "12", "--workers", "1"]) == 0
    assert labels == ["filter one", "audit two"]


def test_a_reader_that_stops_is_no_error(tmp_path: Path) -> None:
    """N-X17: ``| head`` gave "Broken pipe; what is finished stays"."""
    program = f"{sys.executable} -m memcore info --json | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["{0"]
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "once there is room"),
        (errno.EROFS, "or choose another folder"),
        (errno.EIO, "once that is fixed"),
    ],
)
def test_the_remedy_is_that_of_the_cause(
    tmp_path: Path, number: int, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """N-X17: a read-only folder was to be resumed "once there is room"."""
    from memcore.errors import StoreError

    def fails(*_: object) -> None:
        raise OSError(number, "said by the system")

    monkeypatch.setattr(atomic_files.disk, "create", fails)
    with pytest.raises(StoreError, match=f"said by the system; what is finished stays.*{remedy}"):
        atomic_files.write_atomic(tmp_path / "x", b"")
    monkeypatch.setattr(atomic_files.disk, "make_folder", fails)
    with pytest.raises(StoreError, match=remedy):
        atomic_files.make_folders(tmp_path / "new")


def _wait(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, "it ended before it was interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_ctrl_c_three_times_is_one_stop(tmp_path: Path) -> None:
    """N-X19: seconds without a word, and tracebacks and warnings of a resource tracker at the third."""
    (tmp_path / "prompts.txt").write_text("".join(f"p{i}\n" for i in range(2000)))
    words = ["audit", str(tmp_path / "run"), "--sampler", "tests.support.synthetic:SyntheticSampler"]
    words += ["--prompts", str(tmp_path / "prompts.txt"), "--generations", "200", "--workers", "2"]
    command = [sys.executable, "-m", "memcore", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        _wait(lambda: list((tmp_path / "run").glob("manifest/*")), process)
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)  # signals of one moment would be one
        _, said = process.communicate(timeout=60)
    assert process.returncode == 3, said
    first = said.index("memcore: stopping; what is finished is saved")
    assert said.index("memcore: still stopping") > first
    assert said.index("To resume: memcore audit") > first
    assert said.count("memcore: stopping;") == 1
    for noise in ("Traceback", "resource_tracker", "leaked"):
        assert noise not in said, said


def test_an_answer_in_json_stays_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = write_stored(tmp_path / "stored", 12, ["a red fox"])
    assert main(["filter", str(tmp_path / "run"), "--images", str(stored), "--workers", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["quarantine_reasons"] == {}
