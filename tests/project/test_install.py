"""Messages that say ``pip install`` name what can be installed: the checkout that memcore runs from, or the distribution."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import runpy
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

from memcore import _install, info
from memcore.bench import peers
from memcore.errors import MissingExtraError

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
#: Modules of memcore and of its kernels, but for the one that makes the command.
MODULES = [
    path
    for folder in ("memcore", "kernels/memcore_kernels")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path != ROOT / "memcore" / "_install.py"
]


def _texts(tree: ast.AST) -> list[str]:
    """Return the strings of a module that are no docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]


def test_one_function_makes_every_command_that_installs() -> None:
    assert len(MODULES) > 200
    found = {
        f"{path.relative_to(ROOT)}: {text!r}"
        for path in MODULES
        for text in _texts(ast.parse(path.read_text("utf-8")))
        if "pip install" in text or _install.DISTRIBUTION in text
    }
    assert found == set()


def test_every_extra_that_a_message_names_is_declared() -> None:
    named = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                place = {"MissingExtraError": 1, "install_command": 0}.get(node.func.id)
                if place is not None and isinstance(node.args[place], ast.Constant):
                    named.add(node.args[place].value)
    assert {"audit", "gpu", "ray", "s3", "report"} <= named
    assert named - set(EXTRAS) - {"EXTRA"} == set()


@pytest.fixture
def own_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_install.shutil, "which", lambda name: "/venv/bin/pip")
    monkeypatch.setattr(_install.sys, "executable", "/venv/bin/python")


@pytest.mark.usefixtures("own_pip")
def test_a_checkout_is_installed_again_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert _install.install_command("ray") == "pip install -e '.[ray]'"
    monkeypatch.chdir(tmp_path)
    assert _install.install_command("ray") == f"cd {shlex.quote(str(ROOT))} && pip install -e '.[ray]'"


@pytest.mark.usefixtures("own_pip")
def test_elsewhere_the_distribution_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_install, "checkout", lambda: None)
    assert _install.install_command("ray") == "pip install 'memcore-audit[ray]'"
    assert PROJECT["name"] in _install.how_to_build(None)
    assert "pip install 'memcore-audit[s3]'" in str(MissingExtraError("s3fs", "s3", "A run"))
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    assert peers.missing("faiss") == "faiss-cpu is not installed: pip install 'memcore-audit[bench]'"


def test_the_pip_of_another_python_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_install.shutil, "which", lambda name: "/usr/bin/pip")
    monkeypatch.setattr(_install.sys, "executable", "/my venv/bin/python")
    assert _install.install_command("ray").partition(" install ")[0].endswith("'/my venv/bin/python' -m pip")


def test_a_copy_outside_a_checkout_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _install.checkout() == ROOT
    monkeypatch.setattr(_install, "__file__", str(tmp_path / "memcore" / "_install.py"))
    assert _install.checkout() is None


def test_the_name_is_that_of_the_project() -> None:
    assert PROJECT["name"] == _install.DISTRIBUTION


def test_info_lists_every_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    found = info.info()["packages"]
    assert set(found) == set(EXTRAS)
    assert {"pyarrow", "pillow", "torch", "ray"} <= set(found["ray"])  # with those of the extra that it names
    monkeypatch.setattr(info, "_version", lambda name: None if name == "s3fs" else "1.0")
    lines = info.info_lines(info.info())
    assert "extra [s3]: missing s3fs" in lines
    assert "extra [ray]: complete" in lines
    assert [line for line in lines if "install -e '.[EXTRA]'" in line]


def test_info_reads_what_pip_recorded_where_there_is_no_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = "\n".join(
        [
            "Metadata-Version: 2.4",
            "Name: memcore-audit",
            "Provides-Extra: audit",
            "Provides-Extra: odd",
            "Provides-Extra: ray",
            "Requires-Dist: numpy>=1.26",
            'Requires-Dist: pyarrow>=17; extra == "audit"',
            'Requires-Dist: triton>=3.2; platform_system == "Plan9" and extra == "odd"',
            'Requires-Dist: ray>=2.40; extra == "ray"',
            'Requires-Dist: memcore-audit[audit]; extra == "ray"',
        ]
    )
    message = importlib.metadata.email.message_from_string(recorded)  # type: ignore[attr-defined]
    monkeypatch.setattr(info, "checkout", lambda: None)
    monkeypatch.setattr(info.importlib.metadata, "metadata", lambda name: message)
    assert info.extras() == {"audit": ["pyarrow"], "odd": [], "ray": ["pyarrow", "ray"]}


def test_the_readme_lists_every_extra_and_the_docs_only_those_that_exist() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert re.findall(r"^\| `([a-z0-9]+)` \|", readme.partition("## Install")[2], re.MULTILINE) == list(
        EXTRAS
    )
    pages = [readme, *(path.read_text("utf-8") for path in (ROOT / "docs").glob("*.md"))]
    for named in re.findall(r"pip install.*?\[([\w,]+)\]", "\n".join(pages)):
        assert set(named.split(",")) <= set(EXTRAS)


def test_an_editable_install_is_seen_by_type_checkers(monkeypatch: pytest.MonkeyPatch) -> None:
    """They read paths of .pth files and run no import hook: each package must be below such a path, with its py.typed."""
    pytest.importorskip("pybind11")
    setuptools = pytest.importorskip("setuptools")
    given: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", given.update)
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(ROOT / "setup.py"))
    command = given["cmdclass"]["editable_wheel"](setuptools.Distribution({"name": "memcore-audit"}))
    written: dict[str, bytes] = {}

    class Wheel:
        def writestr(self, name: str, data: bytes) -> None:
            written[name] = data

    command._select_strategy("memcore_audit", "none", "build")(Wheel(), [], {})
    ((name, data),) = written.items()
    assert name.endswith(".pth")
    folders = [Path(line) for line in data.decode().splitlines()]
    for package in ("memcore", "memcore_kernels"):
        assert [folder for folder in folders if (folder / package / "py.typed").is_file()]


@pytest.mark.parametrize("asked", [False, True])
def test_a_strange_compilers_warnings_stop_no_build(asked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the compilers that were tried are errors where ``.ci/run`` asks for it, of C++ and of CUDA."""
    pytest.importorskip("pybind11")
    setuptools = pytest.importorskip("setuptools")
    monkeypatch.setattr(setuptools, "setup", lambda **given: None)
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("MEMCORE_WERROR", raising=False)
    if asked:
        monkeypatch.setenv("MEMCORE_WERROR", "1")
    made = runpy.run_path(str(ROOT / "setup.py"))
    for flags in (made["WARNINGS"], made["CUDA_FLAGS"]):
        assert ("-Werror" in " ".join(flags).replace(",", " ").split()) == asked
    assert "export MEMCORE_WERROR=1" in (ROOT / ".ci" / "run").read_text()
