"""The page: what it claims, that it is one safe file, and that it works at every stage of a run."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from memcore.errors import MissingExtraError, RunError
from memcore.jobs.audit import audit, evaluate_run, match_run
from memcore.jobs.config import Config
from memcore.report import html, write_report
from tests.synthetic import MEMORISED, PROMPTS, SyntheticSampler, write_training_set

INJECTION = '<script>alert("x")</script><img src=x onerror=alert(1)>'


class Page(HTMLParser):
    """The page's texts, tags and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    config = Config(source="custom", generations=40, batch_size=16)
    run = audit(folder / "run", config, sampler=SyntheticSampler(), prompts=PROMPTS, quiet=True)
    match_run(run.path, write_training_set(folder))
    evaluate_run(run.path, folder / "truth.json")
    return run.path


def test_claims(finished: Path) -> None:
    page = Page(write_report(finished).read_text("utf-8"))
    assert f"{len(MEMORISED)} of {len(PROMPTS)} prompts reproduce a training image" in page.text
    assert "280 generations" in page.text
    assert "40 black or constant images were counted and never compared" in page.text
    assert "2 prompts must be found, 5 must not, 0 lie in between" in page.text
    cards = [str(a["id"]) for tag, a in page.tags if tag == "article"]
    assert sorted(cards) == sorted(f"prompt-{PROMPTS.index(p)}" for p in MEMORISED)
    alts = [str(a.get("alt")) for tag, a in page.tags if tag == "img"]
    assert sum(alt.startswith("generation with seed") for alt in alts) == 2 * html.STRIP
    assert sum(alt.startswith("training image") for alt in alts) == 2
    assert len([tag for tag, _ in page.tags if tag == "svg"]) == 3


def test_one_file_without_network_or_script(finished: Path) -> None:
    text = write_report(finished).read_text("utf-8")
    page = Page(text)
    sources = [str(a[k]) for _, a in page.tags for k in ("src", "href") if a.get(k)]
    assert all(s.startswith("data:image/") or s == html.PAPER for s in sources)
    assert not [tag for tag, _ in page.tags if tag in ("script", "iframe", "link", "object")]
    assert "default-src 'none'" in text
    assert not re.search(r"url\(|@import", text)


def test_same_run_same_bytes(finished: Path) -> None:
    first = write_report(finished).read_bytes()
    assert write_report(finished).read_bytes() == first


def test_prompts_are_escaped(tmp_path: Path) -> None:
    class Hostile(SyntheticSampler):
        def _one(self, request):  # type: ignore[no-untyped-def]
            rng = np.random.default_rng(request.seed)
            return (np.arange(768).reshape(16, 16, 3) % 200 + rng.integers(0, 9, (16, 16, 3))).astype(
                np.uint8
            )

    run = audit(
        tmp_path / "run",
        Config(source="custom", generations=12),
        sampler=Hostile(),
        prompts=[INJECTION],
        quiet=True,
    )
    text = write_report(run.path).read_text("utf-8")
    page = Page(text)
    assert INJECTION in page.text
    assert INJECTION not in text
    assert not [a for _, a in page.tags if "onerror" in a]
    assert "They were not yet held against a training set" in page.text
    assert "candidate, not matched yet" in page.text


def test_without_findings_and_unfinished(tmp_path: Path) -> None:
    config = Config(source="custom", generations=12, shard_prompts=1)
    prompts = ["a green hill", "rain", "a door"]
    run = audit(
        tmp_path / "run", config, sampler=SyntheticSampler(), prompts=prompts, part=(1, 2), quiet=True
    )
    page = Page(write_report(run.path).read_text("utf-8"))
    assert "This run is not finished: 2 of 3 prompts are done" in page.text
    assert "No prompt of 3 draws the same picture again" in page.text


def test_failed_prompts_are_named(tmp_path: Path) -> None:
    config = Config(source="custom", generations=12)
    sampler = SyntheticSampler(fail="rain")
    run = audit(tmp_path / "run", config, sampler=sampler, prompts=["rain", "a door"], quiet=True)
    page = Page(write_report(run.path).read_text("utf-8"))
    assert "failed prompt reason rain sampler" in page.text
    assert "quarantined because entries sampler 1" in page.text


def test_another_run_beside(finished: Path, tmp_path: Path) -> None:
    config = Config(source="custom", generations=40, threshold=0.2)
    other = audit(tmp_path / "other", config, sampler=SyntheticSampler(), prompts=PROMPTS[:1], quiet=True)
    np.save(tmp_path / "far.npy", np.zeros((3, 16, 16, 3), np.uint8))
    match_run(other.path, tmp_path / "far.npy")
    page = Page(write_report(finished, compare=[other.path]).read_text("utf-8"))
    assert "Cliques that are not extractions" in page.text
    assert "threshold: 0.15 -> 0.2" in page.text
    assert "for 1 of them no training image is that picture" in page.text
    assert "not a copy of a training image" in page.text
    write_report(finished)


def test_many_findings_are_rows_and_the_size_is_bounded(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "PICTURED", 1)
    monkeypatch.setattr(html, "PICTURE_BYTES", 3000)
    page = Page(write_report(finished).read_text("utf-8"))
    assert len([1 for tag, _ in page.tags if tag == "article"]) == 1
    assert "pictures were left out to keep this file small" in page.text
    for prompt in MEMORISED:
        assert prompt in page.text


def test_wrong_calls(tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunError, match="is no run folder"):
        write_report(tmp_path)
    with pytest.raises(RunError, match="is no run folder"):
        write_report(finished, compare=[tmp_path])
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'memcore-audit\[report\]'"):
        write_report(finished)
