"""What MkDocs cannot do by itself: pages that stand beside docs/, and links that lead out of it.

README.md is the front page. It and the pages of the project are written for the repository, where docs/ is a folder
beside them; in the site everything has one root. A link to a file that is no page, such as an example in C, gets a copy of
that file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
#: Files of the repository's root, by their name in the site.
PAGES = {
    "index.md": "README.md",
    **{name: name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "RELEASING.md")},
}
_LINK = re.compile(r"(?<=\]\()(?!https?:|#|mailto:)([^)\s#]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the root, and every file that a page links to and that is not in docs/."""
    for name, source in PAGES.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text("utf-8")))
    for page in files.documentation_pages():
        for target in _LINK.findall(page.content_string):
            _, path = _target(page.src_uri, target)
            if path.is_file() and not path.is_relative_to(ROOT / "docs") and path.name not in PAGES.values():
                place = path.relative_to(ROOT).as_posix()
                if files.get_file_from_path(place) is None:
                    files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Point links at the one root that all pages share."""
    del config, files
    source = page.file.src_uri

    def renamed(found: re.Match[str]) -> str:
        place, path = _target(source, found[1])
        if not path.exists():
            return found[1]
        if place == "README.md":
            place = "index.md"
        return "../" * source.count("/") + place

    return _LINK.sub(renamed, markdown)


def _target(source: str, target: str) -> tuple[str, Path]:
    """Return a link's place in the site, and the file of the repository that it names from the page ``source``."""
    base = ROOT if source in PAGES else (ROOT / "docs" / source).parent
    path = (base / target).resolve()
    if path.is_relative_to(ROOT / "docs"):
        return path.relative_to(ROOT / "docs").as_posix(), path
    return (path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else target), path
