"""A sampler whose own code fails: one line says which sampler, what was raised, and where in its file."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from memcore.audit.source import describe_source
from memcore.errors import ConfigError, SamplerError, TransientError
from memcore.sampling.named import load_sampler
from tests.support.command_line import memcore

NUMBERS = itertools.count()
WHOLE = "    image_shape, fingerprint = (8, 8, 3), 'x'\n    def sample(self, requests): ...\n"


def write_module(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> str:
    """Write a module that no other test has imported, and return its name."""
    name = f"own_sampler_{next(NUMBERS)}"
    (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(folder)
    return name


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(
            f"class Own:\n{WHOLE}    def __init__(self):\n        self.model = open('/no/weights')\n",
            r"sampler=\w+:Own cannot be made: FileNotFoundError: .*'/no/weights' \(line 5 of {file}, in __init__\)",
            id="constructor",
        ),
        pytest.param(
            f"class Own:\n{WHOLE}    def __init__(self):\n        len(5)\n",
            r"cannot be made: TypeError: object of type 'int' has no len\(\) \(line 5 of {file}, in __init__\)",
            id="a TypeError that is not of the options",
        ),
        pytest.param(
            f"import json\nclass Own:\n{WHOLE}    def __init__(self):\n        json.loads('{{')\n",
            r"cannot be made: JSONDecodeError: .* \(line 6 of {file}, in __init__\)",
            id="within a library",
        ),
        pytest.param(
            f"import sys\nclass Own:\n{WHOLE}    def __init__(self):\n        sys.exit('no key')\n",
            r"cannot be made: SystemExit: no key \(line 6 of {file}",
            id="sys.exit",
        ),
        pytest.param(
            "raise RuntimeError('no GPU')\n",
            r"cannot be imported: RuntimeError: no GPU \(line 1 of {file}, in <module>\)",
            id="import",
        ),
        pytest.param(
            "def (\n", r"cannot be imported: SyntaxError: invalid syntax \(\w+\.py, line 1\)", id="syntax"
        ),
        pytest.param(
            "class Own:\n    image_shape = (8, 8, 3)\n    @property\n    def fingerprint(self):\n        return 1 / 0\n",
            r"cannot be used: ZeroDivisionError: division by zero \(line 5 of {file}, in fingerprint\)",
            id="fingerprint",
        ),
    ],
)
def test_the_sampler_the_error_and_the_line_are_named(
    text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = write_module(tmp_path, monkeypatch, text)
    with pytest.raises(SamplerError, match=says.format(file=tmp_path / f"{name}.py")):
        load_sampler(f"{name}:Own", {})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import no_such_package\n", r"cannot be imported: .*'no_such_package' \(line 1 of {file}"),
        (f"class Own:\n{WHOLE}", r"cannot be made with sampler_options=\['key'\]: "),
    ],
)
def test_what_is_wrong_with_the_call_stays_wrong_usage(
    text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = write_module(tmp_path, monkeypatch, text)
    with pytest.raises(ConfigError, match=says.format(file=tmp_path / f"{name}.py")):
        load_sampler(f"{name}:Own", {"key": 1})


def test_a_server_that_does_not_answer_is_an_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"class Own:\n{WHOLE}    def __init__(self):\n        raise ConnectionResetError('reset')\n"
    name = write_module(tmp_path, monkeypatch, text)
    with pytest.raises(TransientError, match="ConnectionResetError: reset"):
        load_sampler(f"{name}:Own", {})


def test_a_description_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"class Own:\n{WHOLE}    def describe(self):\n        return [1]\n"
    sampler = load_sampler(f"{write_module(tmp_path, monkeypatch, text)}:Own", {})
    with pytest.raises(SamplerError, match="the sampler cannot say what it is: TypeError"):
        describe_source(sampler)


def test_the_command_says_it_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"class Own:\n{WHOLE}    def __init__(self):\n        raise KeyError('token')\n"
    name = write_module(tmp_path, monkeypatch, text)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.txt").write_text("a fox\n")
    said = memcore("audit", "run", "--sampler", f"{name}:Own", "--prompts", "prompts.txt", "--quiet")
    assert said.code == 1
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert f"sampler={name}:Own cannot be made: KeyError: 'token' (line 5 of " in line
    assert not (tmp_path / "run").exists()
