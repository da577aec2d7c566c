"""A clone without a built core says how to build it, in Python and on the command line."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree as git makes it: no compiled core, no library."""
    tree = tmp_path_factory.mktemp("clone")
    compiled = shutil.ignore_patterns(
        "_core.*.so", "_core.so", "*.pyd", "lib", "include", "demo_data", "__pycache__"
    )
    shutil.copytree(ROOT / "memcore", tree / "memcore", ignore=compiled)
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tree)
    return tree


def run(tree: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    # -S: an editable install of this tree hooks into imports by a .pth file, and would offer its own core.
    return subprocess.run(
        [sys.executable, "-S", *arguments],
        cwd=tree,
        env={"PYTHONPATH": f"{tree}:{sysconfig.get_path('purelib')}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_an_import_names_what_is_missing_and_the_command(clone: Path) -> None:
    done = run(clone, "-c", "import memcore")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: the native core is not built")
    assert f"{clone / 'memcore'} has no _core" in last
    assert "make .venv/.demo" in last
    assert f"-m pip install -e {clone}" in last
    assert "circular" not in done.stderr


def test_a_module_of_it_says_the_same(clone: Path) -> None:
    done = run(clone, "-c", "import memcore.isa")
    assert "ImportError: the native core is not built" in done.stderr
    assert "circular" not in done.stderr


def test_without_sources_it_is_to_be_installed_again(clone: Path, tmp_path: Path) -> None:
    shutil.copytree(clone / "memcore", tmp_path / "memcore")
    last = run(tmp_path, "-c", "import memcore").stderr.strip().splitlines()[-1]
    assert "Install memcore-audit again" in last
    assert "make" not in last


@pytest.mark.parametrize("command", ["info", "--version", "--help"])
def test_a_command_gets_one_line_and_no_traceback(clone: Path, tmp_path: Path, command: str) -> None:
    script = tmp_path / "memcore"  # what pip writes for [project.scripts]
    script.write_text("import sys\nfrom memcore.cli import main\nsys.exit(main())\n")
    for start in ((script,), ("-m", "memcore.cli"), ("-W", "ignore", "-m", "memcore.cli")):
        done = run(clone, *start, command)
        assert done.returncode == 1, done.stderr
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith("memcore: the native core is not built")
        assert "make .venv/.demo" in line
