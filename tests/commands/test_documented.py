"""Every command has help and is documented; its optional parts stay optional."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from memcore.cli import COMMANDS, build_parser, main

ROOT = Path(__file__).parents[2]
NAMES = [command.NAME for command in COMMANDS]
README = (ROOT / "README.md").read_text("utf-8")
DOCS = "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "docs").glob("*.md")))

#: What a bare installation lacks. An import of one of these raises ImportError in the child process.
OPTIONAL = {
    *(
        "pyarrow",
        "PIL",
        "tqdm",
        "tomli_w",
        "scipy",
        "torch",
        "diffusers",
        "transformers",
        "simplejpeg",
        "safetensors",
    ),
    *(
        "jinja2",
        "kornia_rs",
        "faiss",
        "numkong",
        "networkx",
        "igraph",
        "fastapi",
        "uvicorn",
        "starlette",
        "pydantic",
    ),
    *("ray", "fsspec", "shtab", "tokenizers", "accelerate", "httpx", "httpcore"),
}


@pytest.mark.parametrize("name", NAMES)
def test_every_command_stands_in_the_readmes_table_and_in_the_docs(name: str) -> None:
    assert re.search(rf"^\| `memcore {name}\b", README, re.MULTILINE), f"README has no row for memcore {name}"
    assert re.search(rf"\bmemcore {name}\b", DOCS), f"docs/ does not mention memcore {name}"


def test_the_readmes_table_has_no_other_command() -> None:
    found = re.findall(r"^\| `memcore ([\w-]+)", README, re.MULTILINE)
    assert list(dict.fromkeys(found)) == NAMES  # a command of several actions has a row for each


@pytest.mark.parametrize("name", NAMES)
def test_every_command_and_every_argument_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = next(command for command in COMMANDS if name == command.NAME)
    assert command.HELP
    assert not command.HELP.endswith(".")
    (commands,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    for action in commands.choices[name]._actions:
        assert action.help or action.metavar == "RUN" or action.dest in ("run", "out"), action
    assert main([name, "--help"]) == 0
    assert f"usage: memcore {name}" in capsys.readouterr().out


def bare(*commands: list[str]) -> list[tuple[int, str, str, list[str]]]:
    """Run commands in one process without the optional packages: exit code, both outputs, memcore's modules after it."""
    program = f"""
import contextlib, io, json, sys
sys.modules.update(dict.fromkeys({sorted(OPTIONAL)!r}))
from memcore.cli import main
for words in {commands!r}:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = main(words)
    print(json.dumps([code, out.getvalue(), err.getvalue(), [m for m in sys.modules if m.startswith("memcore.")]]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def test_help_and_info_need_numpy_alone() -> None:
    commands = [["--help"], ["info"], *([name, "--help"] for name in NAMES)]
    for words, (code, out, err, _) in zip(commands, bare(*commands), strict=True):
        assert code == 0, (words, err)
        assert out


def test_help_imports_nothing_that_works() -> None:
    ((_, _, _, modules),) = bare(["--help"])
    for heavy in (
        "runs.config",
        "audit",
        "index",
        "report",
        "matching",
        "engine",
        "study",
        "sources",
        "bench",
    ):
        assert f"memcore.{heavy}" not in modules


def test_a_script_for_the_shell_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    (tmp_path / "memcore.bash").write_text(script)
    subprocess.run(["bash", "-n", tmp_path / "memcore.bash"], check=True)
    for word in (*NAMES, "--training", "--budget", "sequential"):
        assert word in script
    assert main(["completion", "bash", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"shell": "bash", "script": script.removesuffix("\n")}
    assert main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out.startswith("#compdef memcore")


def test_the_script_completes_commands_flags_and_choices(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("shtab")
    assert main(["completion", "bash"]) == 0
    (tmp_path / "memcore.bash").write_text(capsys.readouterr().out)

    def completed(*words: str) -> list[str]:
        line = " ".join(f"'{word}'" for word in ("memcore", *words))
        asked = f"source memcore.bash; COMP_WORDS=({line}); COMP_CWORD={len(words)}; _shtab_memcore; "
        asked += 'printf "%s\\n" "${COMPREPLY[@]}"'
        done = subprocess.run(["bash", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True)
        return sorted(done.stdout.split())

    assert completed("fil") == ["filter"]
    assert completed("audit", "--copy") == ["--copy-rate"]
    assert completed("audit", "--budget", "s") == ["sequential"]


def test_without_shtab_it_says_what_to_install() -> None:
    ((code, out, err, _),) = bare(["completion", "bash"])
    assert (code, out) == (2, "")
    assert "install -e '.[completion]'" in err
