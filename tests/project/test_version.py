"""The version is written in memcore/_version.py; everything else reads it there or agrees with it."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

import memcore
from memcore import _version

ROOT = Path(__file__).parents[2]


def test_the_package_and_its_metadata_read_one_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert "version" not in project
    assert project["dynamic"] == ["version"]
    assert memcore.__version__ is _version.__version__
    setuptools_config = importlib.import_module("setuptools.config.pyprojecttoml")
    read = setuptools_config.read_configuration(ROOT / "pyproject.toml")["project"]["version"]
    assert read == _version.__version__


def test_the_copies_agree() -> None:
    """The C header is compiled without Python, and CITATION.cff is plain YAML: both hold the number as text."""
    header = (ROOT / "csrc" / "include" / "memcore.h").read_text("utf-8")
    assert re.findall(r'#define MEMCORE_VERSION "(.*)"', header) == [_version.__version__]
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.findall(r"^version: (.*)$", citation, re.MULTILINE) == [_version.__version__]


def test_the_changelog_has_a_place_for_what_is_not_released() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
