"""``memcore index``."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

from memcore.commands import _options
from memcore.commands._answer import Answer
from memcore.commands._checks import read_colour, verdict_code
from memcore.errors import ConfigError
from memcore.system.console import write_error
from memcore.system.units import count

NAME = "index"
HELP = "sketch a training set, for an exact search at any size"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the index, its source, and how images are resized and sketched."""
    parser.add_argument(
        "index", type=Path, metavar="INDEX", help="the index's folder; an existing one is resumed"
    )
    parser.add_argument(
        "--source", type=Path, help=f"{_options.SOURCE_HELP}; may be given again later to add to it"
    )
    _options.add_source(parser)
    _options.add_resize(parser)
    parser.add_argument(
        "--coarse", type=int, default=4, help="blocks a side of what is searched (default: %(default)s)"
    )
    parser.add_argument(
        "--fine", type=int, default=8, help="blocks a side of the second, finer sketch (default: %(default)s)"
    )
    parser.add_argument(
        "--shard-images", type=int, default=65536, help="images a shard (default: %(default)s)"
    )
    _options.add_threads(parser)
    parser.add_argument("--verify", action="store_true", help="only compare the index with its checksums")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    _options.add_allow_incomplete(parser)


def run(arguments: argparse.Namespace) -> Answer:
    """Build the index or check it, then describe it."""
    from memcore.images.resize import describe_resize
    from memcore.index import Index
    from memcore.runs.completeness import incomplete_lines, index_gaps
    from memcore.sources.base import shown
    from memcore.sources.coverage import coverage_line

    moved = [] if arguments.verify else _build(arguments)
    opened = Index.open(arguments.index, verify=arguments.verify)
    result = opened.describe()
    images, shards = len(opened), len(opened.shards)
    lines = [
        f"{count(images, 'image')} of {'x'.join(map(str, opened.image_shape))} in {count(shards, 'shard')}, "
        f"{result['unreadable']:,} left out"
    ]
    if result["resize"]:
        lines.append(f"resized to {describe_resize(result['resize'])}")
    lines += [f"{shown(old)} is now at {shown(new)}" for old, new in moved]
    coverage = opened.coverage()
    result["coverage"] = coverage
    if coverage is not None:
        lines.append(coverage_line(coverage))
    if arguments.verify:
        lines.append("all checksums are right")
    reasons = dict(sorted(Counter(row["reason"] for row in opened.quarantine()).items()))
    if result["unreadable"]:
        result["reasons"] = reasons
        if coverage is None:
            lines.append(", ".join(f"{count} {reason}" for reason, count in reasons.items()))
    gaps = [gap.as_dict() for gap in index_gaps(coverage, reasons, opened.image_shape)]
    result["incomplete"] = gaps
    lines.extend(incomplete_lines(gaps))
    return Answer(result, lines, verdict_code(arguments, [] if arguments.verify else gaps))


def _build(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """Build the index; return the places, old and new, of sources that it found at another one."""
    from memcore.index import build_index
    from memcore.index.layout import META, IndexMeta

    if arguments.source is None:
        raise ConfigError(f"source is missing: {_options.SOURCE_HELP}")
    background = read_colour(arguments.background)
    progress = None if arguments.quiet else _ImageCount()
    held = IndexMeta.read(arguments.index).sources if (arguments.index / META).exists() else []
    made = build_index(
        arguments.index,
        _options.open_described(arguments, arguments.source),
        resize=_options.read_resize(arguments),
        background=background,
        coarse=arguments.coarse,
        fine=arguments.fine,
        shard_images=arguments.shard_images,
        threads=arguments.threads,
        progress=progress,
    )
    if progress:
        progress.close()
    pairs = ((old["path"], new["path"]) for old, new in zip(held, made.sources, strict=False))
    return list(dict.fromkeys(pair for pair in pairs if pair[0] != pair[1]))


class _ImageCount:
    """Show the images so far: on a terminal by a line that is overwritten, in a log by a line from time to time."""

    def __init__(self) -> None:
        self._started = self._shown = time.monotonic()
        self._live = sys.stderr.isatty()
        self._last = ""

    def __call__(self, images: int, broken: int) -> None:
        now = time.monotonic()
        self._last = f"{count(images, 'image')}, {broken:,} left out, {now - self._started:.0f} s"
        if now - self._shown < (0.2 if self._live else 30):
            return
        self._shown = now
        if self._live:
            write_error(self._last, start="\r", end="")
        else:
            write_error(self._last)

    def close(self) -> None:
        """Leave the last count on the terminal."""
        if self._live and self._last:
            write_error(self._last, start="\r")
