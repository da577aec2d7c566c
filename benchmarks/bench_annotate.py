"""Time from a key to the next item, and a burst of keys, on the annotators' page in a real Chromium.

Makes and matches a run of its own, serves it with ``memcore annotate`` and presses keys. Each item shows the images of one
clique beside its nearest training images, 20 in all. "Shown" is the page's own measure: from the key's event to the frame in
which all pictures of the next item are decoded. The targets are a median of 50 ms, and 30 of 30 keys of a burst saved.

    python benchmarks/bench_annotate.py [--side 512] [--json]
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memcore.annotate.gallery import Gallery
from memcore.audit import audit
from memcore.matching.match_run import match_run
from memcore.runs.annotations import Annotations
from memcore.runs.config import Config
from memcore.types import Images, Request

IMAGES = 20  # an item: 15 generations and the 5 nearest training images
CLIQUE = 15
BURST = 30
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


class Copies:
    """A sampler whose generations are noisy copies of one picture a prompt: smooth shapes, which resemble photographs."""

    fingerprint = "bench-annotate"

    def __init__(self, side: int) -> None:
        self.image_shape = (side, side, 3)

    def original(self, number: int) -> NDArray[np.uint8]:
        rng = np.random.default_rng(number)
        side = self.image_shape[0]
        coarse = rng.integers(0, 256, (side // 32 + 1, side // 32 + 1, 3)).astype(np.float32)
        fine = coarse.repeat(32, 0).repeat(32, 1)[:side, :side]
        for axis in (0, 1):
            fine = (fine + np.roll(fine, 8, axis) + np.roll(fine, 16, axis)) / 3
        return fine.astype(np.uint8)

    def sample(self, requests: Sequence[Request]) -> Images:
        pixels = np.stack([self._one(r) for r in requests])
        return Images(pixels, np.zeros(len(requests), dtype=bool))

    def _one(self, request: Request) -> NDArray[np.uint8]:
        noise = np.random.default_rng(request.seed).integers(-3, 4, self.image_shape)
        return (self.original(request.prompt_id) + noise).clip(0, 255).astype(np.uint8)


def make_run(folder: Path, side: int, items: int) -> Path:
    """Make a finished and matched run of ``items`` findings."""
    sampler = Copies(side)
    config = Config(source="custom", generations=CLIQUE, batch_size=CLIQUE, min_clique=10)
    prompts = [f"picture {n}" for n in range(items)]
    run = audit(folder / "run", config, sampler=sampler, prompts=prompts, quiet=True)
    np.save(folder / "train.npy", np.stack([sampler.original(n) for n in range(items)]))
    match_run(run.path, folder / "train.npy")
    for item in Gallery(run.path).items:
        shown = len(item.generations) + len(item.training)
        assert shown == IMAGES, f"an item shows {shown} images, not {IMAGES}"
    return run.path


def wait(page: Any, condition: str) -> None:
    deadline = time.monotonic() + 60
    while not page.evaluate(condition):
        if time.monotonic() > deadline:
            raise SystemExit(f"never came: {condition}")
        page.wait_for_timeout(5)


def open_page(browser: Any, link: str) -> Any:
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.goto(link)
    page.wait_for_url(link.partition("/enter")[0] + "/")  # the link sets a cookie and redirects
    wait(page, "document.getElementById('stage').dataset.shown !== undefined")
    return page


def latencies(browser: Any, link: str, keys: int, pause_ms: int) -> list[float]:
    """Return milliseconds from each key to the next item, at the pace of a quick person."""
    page = open_page(browser, link)
    for n in range(keys):
        page.wait_for_timeout(pause_ms)
        page.keyboard.press("y")
        wait(page, f"document.getElementById('stage').dataset.shown === '{n + 1}'")
    measures = "performance.getEntriesByName('key to item')"
    wait(page, f"{measures}.length >= {keys}")  # each comes two frames after its item
    found: list[float] = page.evaluate(f"{measures}.map((e) => e.duration)")
    assert len(found) == keys, f"{len(found)} measures of {keys} keys"
    return found


def burst(browser: Any, link: str, run: Path) -> int:
    """Return how many keys of a burst without a pause are saved."""
    page = open_page(browser, link)
    for n in range(BURST):
        page.keyboard.press("yn"[n % 2])
    wait(page, "document.getElementById('saved').textContent === 'All saved'")
    with Annotations.open(run) as annotations:
        labels = annotations.labels(2)
    return sum(labels.get(n) == ("copy", "no")[n % 2] for n in range(BURST))


def main() -> int:
    """Run both and print them; exit code 1 if a target is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--side", type=int, default=512, help="pixels of a picture's side (default: %(default)s)"
    )
    parser.add_argument("--pause", type=int, default=500, help="ms between two keys (default: %(default)s)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("chromium is not installed: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder), arguments.side, BURST + 2)
        serve = [sys.executable, "-m", "memcore.cli", "annotate", str(run), "--json", "--port", "0"]
        server = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            links = json.loads(server.stdout.readline())["links"]
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
                times = latencies(browser, links["1"], BURST, arguments.pause)
                saved = burst(browser, links["2"], run)
                browser.close()
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(timeout=30)
    figures = {
        "images": IMAGES,
        "side": arguments.side,
        "median_ms": statistics.median(times),
        "largest_ms": max(times),
        "saved": saved,
        "of": BURST,
    }
    if arguments.json:
        print(json.dumps(figures, indent=1))
    else:
        print(
            f"{IMAGES} images of {arguments.side} pixels an item: key to next item {figures['median_ms']:.1f} ms median, "
            f"{figures['largest_ms']:.1f} largest of {len(times)}; {saved} of {BURST} burst keys saved"
        )
    return 0 if figures["median_ms"] <= 50 and saved == BURST else 1


if __name__ == "__main__":
    sys.exit(main())
