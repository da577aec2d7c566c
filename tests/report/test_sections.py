"""A section is a module and a template; the page finds them, orders them and links those that are there."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from memcore.report.sections import load_sections
from tests.support.report_page import Page, copy_run, render_page


def test_each_section_has_a_place_of_its_own_and_a_template() -> None:
    sections = load_sections()
    assert len({section.order for section in sections}) == len(sections)
    folder = files("memcore.report")
    assert all(folder.joinpath(section.template).is_file() for section in sections)
    templates = {path.name for path in folder.joinpath("sections").iterdir() if path.name.endswith(".html")}
    assert templates == {f"{section.name}.html" for section in sections}


def test_labelled_sections_have_an_anchor_and_a_link(page: Page) -> None:
    ids = [a["id"] for a in page.all("section") if "id" in a]
    links = [a["href"].removeprefix("#") for a in page.all("a") if a["href"].removeprefix("#") in ids]
    labelled = [section.name for section in load_sections() if section.label]
    assert [name for name in labelled if name in ids] == ids
    assert links[0] == "findings", "the skip link"
    # a notice of what was not decided may link to a section before the navigation does
    assert ids in [links[at : at + len(ids)] for at in range(1, len(links))], "the navigation"


@pytest.mark.parametrize("name", ["evaluation", "annotations", "compared", "budget"])
def test_a_section_without_content_is_neither_shown_nor_linked(run: Path, tmp_path: Path, name: str) -> None:
    page = render_page(copy_run(run, tmp_path, "evaluation.json"))
    assert f'id="{name}"' not in page.html
    assert f'href="#{name}"' not in page.html
