"""The files that people and services read: workflows, templates, the citation, the policies."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "RELEASING.md", "CITATION.cff")


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def triggers(workflow: Any) -> Any:
    return workflow[True]  # YAML 1.1 reads the key `on` as a boolean


def test_there_is_a_workflow_for_each_purpose() -> None:
    assert [path.stem for path in WORKFLOWS] == ["fuzz", "lint", "native", "tests", "wheels"]
    assert [path.stem for path in TEMPLATES] == ["bug", "config", "feature"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_is_whole(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    on_push = triggers(workflow)["push"]
    assert on_push == ({"tags": ["v*"]} if path.stem == "wheels" else {"branches": ["**"]})
    assert ("pull_request" in triggers(workflow)) == (path.stem != "wheels")
    for job in workflow["jobs"].values():
        assert job["runs-on"]
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step), step
            if "uses" in step:
                assert re.fullmatch(r"[\w.-]+(/[\w.-]+)+@v\d[\d.]*", step["uses"])


def commands() -> list[str]:
    loaded = [load(path) for path in WORKFLOWS]
    steps = [step for workflow in loaded for job in workflow["jobs"].values() for step in job["steps"]]
    return [step["run"] for step in steps if "run" in step]


def test_what_workflows_run_is_here() -> None:
    """Make targets, scripts and modules that a workflow names exist."""
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    text = "\n".join(commands())
    named = set(re.findall(r"\bmake ([a-z0-9-]+)", text))
    assert named >= {"lint", "test", "docs", "fuzz", "aarch64"}
    assert named <= targets
    for script in re.findall(r"(?:csrc|\.ci)/[\w./-]+", text):
        assert (ROOT / script).is_file(), script
    for module in re.findall(r"-m (memcore_kernels[\w.]*)", text):
        assert (ROOT / "kernels" / (module.replace(".", "/") + ".py")).is_file(), module


@pytest.mark.parametrize("path", [p for p in TEMPLATES if p.stem != "config"], ids=lambda path: path.stem)
def test_an_issue_form_asks_something(path: Path) -> None:
    form = load(path)
    assert form["name"]
    assert form["description"]
    kinds = {"markdown", "textarea", "input", "dropdown", "checkboxes"}
    assert {part["type"] for part in form["body"]} <= kinds
    identifiers = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert len(identifiers) == len(set(identifiers)) > 0


def test_the_citation_names_the_paper_and_the_software() -> None:
    citation = load(ROOT / "CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["license"] == "Apache-2.0"
    paper = citation["preferred-citation"]
    assert paper["title"] == "Extracting Training Data from Diffusion Models"
    assert paper["url"].endswith("2301.13188")
    assert len(paper["authors"]) == 9


@pytest.mark.parametrize("name", PAGES)
def test_links_between_the_files_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
        assert (ROOT / target).exists(), f"{name} links to {target}"


def test_the_changelog_keeps_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    (unreleased,) = re.findall(r"^## \[Unreleased\]\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert re.findall(r"^### (\w+)$", unreleased, re.MULTILINE)[:3] == ["Added", "Changed", "Fixed"]
