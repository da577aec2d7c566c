"""The page in a real Chromium: no key is lost, whatever happens to the page or to the server."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from memcore.runs.annotations import Annotations
from tests.support.browser import FINDINGS, Server, serving

pytest.importorskip("fastapi", reason="fastapi is not installed: memcore-audit[annotate]")

Open = Callable[..., Any]


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    """Open an annotator's link in a profile of its own; errors of the page fail the test."""
    contexts, errors = [], []

    def opened(server: Server, annotator: int = 1, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": 1280, "height": 800}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(server.links[annotator])
        page.wait_for_url(f"{server.origin}/")
        shown(page, None)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


def until(page: Any, condition: str, seconds: float = 30) -> None:
    """Poll from outside: the page's own policy forbids what Playwright's waiting would evaluate in it."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, (
            f"never: {condition}, the mark says {page.text_content('#saved')!r}"
        )
        page.wait_for_timeout(10)


def shown(page: Any, item: int | None) -> None:
    """Wait until the item, or any, is there with all of its pictures."""
    wanted = "!== undefined" if item is None else f"=== '{item}'"
    until(page, f"document.getElementById('stage').dataset.shown {wanted}")


def all_saved(page: Any) -> None:
    until(page, "document.getElementById('saved').textContent === 'All saved'")


def labels(run: Path, annotator: int = 1) -> dict[int, str]:
    with Annotations.open(run) as annotations:
        return annotations.labels(annotator)


def events(run: Path) -> list[tuple[Any, ...]]:
    query = "SELECT annotator, item, label FROM events ORDER BY id"
    return sqlite3.connect(run / "annotations.sqlite").execute(query).fetchall()


def burst(page: Any, keys: str) -> None:
    """Press keys as fast as the browser takes them."""
    for key in keys:
        page.keyboard.press(key)


def test_an_item_is_shown_with_its_pictures_and_no_verdict(run: Path, open_page: Open) -> None:
    with serving(run) as server:
        page = open_page(server)
        assert page.text_content("#rank") == "1"
        assert page.text_content("#prompt") == "a picture of thing number 0"
        assert page.locator(".generations img").count() == 16
        assert page.locator(".training img").count() >= 4
        assert page.evaluate("[...document.images].every((i) => i.complete && i.naturalWidth === 48)")
        text = page.evaluate("document.body.innerText").lower()
        assert not any(word in text for word in ("extracted", "distance", "l2", "train/"))
        assert page.evaluate("document.cookie") == "", "no script reads the cookie"
        hosts = page.evaluate("performance.getEntriesByType('resource').map((e) => new URL(e.name).host)")
        assert set(hosts) == {server.origin.removeprefix("http://")}


def test_a_burst_of_thirty_keys_is_saved(run: Path, open_page: Open) -> None:
    keys = "ynuyyn" * 5
    with serving(run) as server:
        page = open_page(server)
        burst(page, keys)
        all_saved(page)
        assert page.text_content("#rank") == "31"
        server.kill()
    meaning = {"y": "copy", "n": "no", "u": "unsure"}
    assert events(run) == [(1, item, meaning[key]) for item, key in enumerate(keys)], "all, in order, once"


def test_held_and_modified_keys_are_ignored(run: Path, open_page: Open) -> None:
    with serving(run) as server:
        page = open_page(server)
        page.keyboard.down("y")
        for _ in range(5):
            page.keyboard.down("y")  # what a held key sends: repeat is set
        page.keyboard.up("y")
        for combination in ("Control+y", "Alt+n", "Meta+u", "x", "1", "Enter", "Space"):
            page.keyboard.press(combination)
        all_saved(page)
        assert page.text_content("#rank") == "2"
    assert events(run) == [(1, 0, "copy")]


def test_undo_and_resume_at_the_same_item(run: Path, open_page: Open) -> None:
    with serving(run) as server:
        page = open_page(server)
        burst(page, "zyyn")
        page.keyboard.press("z")
        page.keyboard.press("Backspace")
        all_saved(page)
        assert page.text_content("#rank") == "2"
        page.keyboard.press("Shift+N")
        all_saved(page)
        page.reload()
        shown(page, 2)
        assert page.text_content("#rank") == "3"
        page.keyboard.press("z")
        shown(page, 1)
        all_saved(page)
    assert labels(run) == {0: "copy"}
    assert [label for _, _, label in events(run)] == ["copy", "copy", "no", None, None, "no", None]


def test_reload_in_mid_burst(run: Path, open_page: Open) -> None:
    with serving(run) as server:
        page = open_page(server)
        page.route("**/event", lambda route: (time.sleep(0.05), route.continue_()))
        burst(page, "y" * 20)
        assert "unsaved" in page.text_content("#saved")
        page.reload()
        shown(page, None)
        burst(page, "n" * 10)
        page.unroute("**/event")
        all_saved(page)
        assert page.text_content("#rank") == "31"
    assert labels(run) == {i: "copy" if i < 20 else "no" for i in range(30)}


def test_a_killed_server_loses_nothing_that_was_shown_as_saved(run: Path, open_page: Open) -> None:
    with serving(run) as server:
        page = open_page(server)
        burst(page, "yn" * 5)
        all_saved(page)
        server.kill()
        assert labels(run) == {i: "copy" if i % 2 == 0 else "no" for i in range(10)}
        burst(page, "u" * 5)
        until(page, "document.getElementById('saved').textContent.includes('does not answer')")
        assert page.text_content("#saved").startswith("5 unsaved")
        with serving(run, port=server.port) as again:
            until(page, "document.getElementById('saved').textContent.includes('new link')")
            page.goto(again.links[1])
            page.wait_for_url(f"{again.origin}/")
            shown(page, 15)
            all_saved(page)
            assert page.evaluate("localStorage.length") == 0
    assert labels(run) == {
        **{i: "copy" if i % 2 == 0 else "no" for i in range(10)},
        **dict.fromkeys(range(10, 15), "unsure"),
    }
    assert len(events(run)) == 15


def test_kills_in_mid_burst(run: Path, open_page: Open) -> None:
    """Whatever moment the server dies at, what the page calls saved is on the disk."""
    port, done = 0, 0
    page = None
    for kill in range(3):
        with serving(run, port=port) as server:
            port = server.port
            if page is None:
                page = open_page(server)
            else:
                page.goto(server.links[1])
                page.wait_for_url(f"{server.origin}/")
                shown(page, None)
                all_saved(page)
            burst(page, "y" * 7)
            time.sleep(0.01 * kill)
            server.kill()
        done += 7
        left = int((page.text_content("#saved") or "").split()[0].replace("All", "0"))
        assert len(labels(run)) >= done - left
    with serving(run, port=port) as server:
        page.goto(server.links[1])
        page.wait_for_url(f"{server.origin}/")
        shown(page, None)
        all_saved(page)
    assert labels(run) == dict.fromkeys(range(done), "copy")
    assert len(events(run)) == done


def test_two_annotators_at_once(run: Path, open_page: Open) -> None:
    with serving(run, top=8) as server:
        one, two = open_page(server, 1), open_page(server, 2)
        burst(one, "yyyyyyyy")
        assert two.text_content("#rank") == "1"
        burst(two, "yyyynnuy")
        all_saved(one)
        all_saved(two)
        assert "That was all of them" in one.text_content("main")
        assert "copy 5 times, no copy 2 times and unsure once" in two.text_content("main")
        burst(two, "yn")
        two.keyboard.press("z")
        shown(two, 7)
        all_saved(two)
    assert labels(run, 1) == dict.fromkeys(range(8), "copy")
    assert len(labels(run, 2)) == 7


def test_another_page_in_the_same_browser_can_do_nothing(run: Path, open_page: Open, tmp_path: Path) -> None:
    """A page of a foreign origin, in the annotator's own browser, sends what it can."""
    import http.server
    import threading

    (tmp_path / "evil.html").write_text("<title>evil</title>")
    handler = lambda *a: http.server.SimpleHTTPRequestHandler(*a, directory=str(tmp_path))  # noqa: E731
    foreign = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=foreign.serve_forever, daemon=True).start()
    with serving(run) as server:
        mine = open_page(server)
        evil = mine.context.new_page()
        evil.goto(f"http://127.0.0.1:{foreign.server_address[1]}/evil.html")
        script = """async ([origin, kind]) => {
            const body = JSON.stringify({key: 'evil', item: 0, label: 'copy'});
            const options = {method: 'POST', body, credentials: 'include', headers: {'Content-Type': kind}};
            if (kind === 'text/plain') options.mode = 'no-cors';
            try { return (await fetch(origin + '/event', options)).status } catch (error) { return String(error) }
        }"""
        assert "TypeError" in evil.evaluate(script, [server.origin, "application/json"])
        assert evil.evaluate(script, [server.origin, "text/plain"]) in (0, "TypeError: Failed to fetch")
        read = """async (origin) => {
            try { return (await fetch(origin + '/state', {credentials: 'include'})).status } catch { return 0 }
        }"""
        assert evil.evaluate(read, server.origin) == 0
        framed = evil.evaluate(
            """async (origin) => { const f = document.createElement('iframe'); f.src = origin; document.body.append(f);
            await new Promise((r) => { f.onload = r; setTimeout(r, 2000) });
            try { return f.contentDocument === null ? 'closed' : 'open' } catch { return 'closed' } }""",
            server.origin,
        )
        assert framed == "closed"
        assert events(run) == []
    foreign.shutdown()


@pytest.mark.parametrize(
    ("width", "height", "touch"), [(1280, 720, False), (1920, 1080, False), (390, 844, True)]
)
def test_everything_fits(run: Path, browser: Any, width: int, height: int, touch: bool) -> None:
    """No sideways scrolling; on a desktop no scrolling at all, and no picture is cut or tiny. A phone's buttons work."""
    with serving(run) as server:
        context = browser.new_context(viewport={"width": width, "height": height}, has_touch=touch)
        page = context.new_page()
        page.goto(server.links[1])
        page.wait_for_url(f"{server.origin}/")
        shown(page, 0)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        if not touch:
            assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
        boxes = page.evaluate(
            "[...document.images].map((i) => { const b = i.getBoundingClientRect(); return [b.width, b.height, b.right] })"
        )
        assert len(boxes) >= 20
        for w, h, right in boxes:
            assert abs(w - h) <= 1
            assert w >= (80 if width < 500 else 85)
            assert right <= width
        if touch:
            page.tap("[data-label=copy]")
            shown(page, 1)
            page.tap("[data-undo]")
            shown(page, 0)
            all_saved(page)
            assert [label for _, _, label in events(run)] == ["copy", None]
        context.close()


def test_it_takes_all_findings(matched: Path) -> None:
    from memcore.annotate.gallery import Gallery

    assert len(Gallery(matched).items) == FINDINGS
