"""The page is one inert file: nothing is loaded, and no text of a run becomes markup."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.support import report_runs
from tests.support.drawn import near_copies, picture
from tests.support.report_page import PAPER, Page, assert_inert, empty_run, render_page
from tests.support.report_runs import RunWriter, finding_row
from tests.support.sealing import change_toml, write_evaluation


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    assert_inert(page)
    assert re.findall(r"https?://[^\s\"<]+", page.html) == [PAPER]


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>{{ 7*7 }}{% raw %}",
    "</title></style></bdi><style>*{display:none}</style>",
    "\u202egnp.evil\x00\x1b[31m &lt;b&gt; &amp;",
)


def test_texts_of_the_run_are_never_markup(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path)
    for i, text in enumerate(HOSTILE):
        pictures = near_copies(picture(i, 32), 10, 0.03, i)
        clique = writer.add_clique(i, pictures)
        writer.rows.append(finding_row(i, text, [clique]))
        writer.add_match(i, clique, pictures, i, picture(i, 32), 1)
        writer.matches[-1]["training_name"] = text
        writer.matches[-1]["neighbors"][0]["name"] = text
        writer.rows.append(finding_row(50 + i, text, [], status="failed", reason=text))
        writer.quarantine.append({"prompt_id": i, "source": text, "reason": text, "detail": text})
    writer.write()
    change_toml(tmp_path, '"StableDiffusionPipeline"', json.dumps(HOSTILE[0]))
    truth = [
        {"prompt": t, "kind": t, "copies": 0, "expected": True, "training_images": []} for t in HOSTILE * 2
    ]
    rows = sorted(writer.rows, key=lambda row: row["prompt_id"])
    write_evaluation(tmp_path, report_runs.evaluate(rows, writer.matches, truth))
    page = render_page(tmp_path, tmp_path)
    assert_inert(page)
    titles = {page.text(f"{card}-title") for card in page.cards()}
    assert set(HOSTILE[:4]) <= titles, "shown as they are"
    assert "\x00" not in page.html
    assert "\u202e" not in page.html
    assert "49" not in page.text("finding-3-title")


def test_long_texts_are_cut(tmp_path: Path) -> None:
    writer = empty_run(tmp_path)
    writer.rows.append(
        finding_row(7, "word " * 50_000, [writer.add_clique(7, near_copies(picture(7), 10, 0.03, 7))])
    )
    writer.write(matched=False)
    page = render_page(tmp_path)
    assert len(page.text("finding-1-title")) <= 400
    assert page.text("finding-1-title").endswith("…")
    assert len(page.html) < 400_000
