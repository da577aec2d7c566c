"""``memcore index``, ``match`` and ``prompts`` on the command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memcore.errors import ConfigError

#: (subparsers, name, about, what runs it) -> parser; and what prints an answer as JSON or lines.
AddCommand = Callable[[Any, str, str, Callable[[argparse.Namespace], int]], argparse.ArgumentParser]
Print = Callable[[argparse.Namespace, dict[str, Any], list[str]], None]
_FITS = ("crop", "stretch")


def register(commands: Any, add: AddCommand, show: Print) -> None:
    """Adds the commands."""

    def runs(work: Callable[[argparse.Namespace, Print], int]) -> Callable[[argparse.Namespace], int]:
        return lambda arguments: work(arguments, show)

    index = add(commands, "index", "sketch a training set, for an exact search at any size", runs(_index))
    index.add_argument(
        "index", type=Path, metavar="INDEX", help="the index's folder; one that exists is gone on with"
    )
    index.add_argument("--source", type=Path, help=f"{_SOURCE_HELP}; may be given again later to add to it")
    _source_options(index)
    index.add_argument(
        "--resize", metavar="HxW", help="resize every image to these pixels (default: none is resized)"
    )
    index.add_argument(
        "--resize-method", default="lanczos", help="one of Pillow's methods (default: %(default)s)"
    )
    index.add_argument("--resize-fit", choices=_FITS, default="crop", help="default: %(default)s")
    index.add_argument(
        "--background", metavar="R,G,B", help="colour under transparent images (default: they are refused)"
    )
    index.add_argument(
        "--coarse", type=int, default=4, help="blocks a side of what is searched (default: %(default)s)"
    )
    index.add_argument(
        "--fine", type=int, default=8, help="blocks a side of the second look (default: %(default)s)"
    )
    index.add_argument(
        "--shard-images", type=int, default=65536, help="images a shard (default: %(default)s)"
    )
    index.add_argument("--threads", type=int, help="threads (default: all processors)")
    index.add_argument("--verify", action="store_true", help="only compare the index with its checksums")
    index.add_argument("--quiet", action="store_true", help="no progress")

    match = add(commands, "match", "hold the findings against a training set", runs(_match))
    match.add_argument("run", type=Path, metavar="RUN")
    against = match.add_mutually_exclusive_group(required=True)
    against.add_argument("--training", type=Path, help="folder of images, .npy or .npz that fits into memory")
    against.add_argument("--index", type=Path, help="folder that memcore index has written")
    match.add_argument(
        "--delta", type=float, default=0.15, help="largest distance of a copy (default: %(default)s)"
    )
    match.add_argument(
        "--distance", choices=["l2", "tiled_l2"], default="l2", help="default: %(default)s, the paper's"
    )
    match.add_argument(
        "--neighbors", type=int, default=5, help="nearest training images to list (default: %(default)s)"
    )
    match.add_argument(
        "--adaptive", action="store_true", help="the adaptive distance too, for small images (50 neighbours)"
    )
    match.add_argument("--threads", type=int, help="threads (default: all processors)")

    prompts = add(commands, "prompts", "the captions of the most-duplicated training images", runs(_prompts))
    prompts.add_argument("out", type=Path, metavar="OUT.parquet", help="for memcore audit --prompts")
    prompts.add_argument(
        "--index", type=Path, help="group by the images themselves: an index of memcore index"
    )
    prompts.add_argument(
        "--embeddings", type=Path, help="or by cosine: .npy (N, D), a row for each entry of --source"
    )
    prompts.add_argument("--source", type=Path, help=f"with --embeddings: {_SOURCE_HELP}")
    _source_options(prompts)
    prompts.add_argument(
        "--engine",
        choices=["exact", "faiss"],
        default="exact",
        help="what multiplies embeddings; the groups are the same (default: %(default)s)",
    )
    prompts.add_argument(
        "--distance", choices=["l2", "tiled_l2"], default="tiled_l2", help="of images (default: %(default)s)"
    )
    prompts.add_argument(
        "--threshold",
        type=float,
        help="largest distance (default: 0.05), or least cosine (default: 0.95), of duplicates",
    )
    prompts.add_argument("--top", type=int, default=350_000, help="most prompts (default: %(default)s)")
    prompts.add_argument(
        "--min-count", type=int, default=2, help="least copies of a prompt (default: %(default)s)"
    )
    prompts.add_argument("--threads", type=int, help="threads (default: all processors)")


_SOURCE_HELP = "a folder of images, a .tar, .parquet, .npy or .npz file, or a folder of one of these"


def _source_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kind", choices=["images", "arrays", "tars", "parquet"], help="where a folder holds several"
    )
    parser.add_argument(
        "--image-column", help="of Parquet: the column of image bytes (default: the only one)"
    )
    parser.add_argument(
        "--caption-column", help="of Parquet (default: caption, text or prompt, whichever is there)"
    )
    parser.add_argument("--captions", type=Path, help="of arrays: a text file, one line an image")


def open_described(arguments: argparse.Namespace) -> Any:
    """The source that the flags describe."""
    from memcore.sources.open import open_source

    names = ("image_column", "caption_column", "captions")
    options = {n: str(getattr(arguments, n)) for n in names if getattr(arguments, n)}
    return open_source(arguments.source, arguments.kind, **options)


def _index(arguments: argparse.Namespace, show: Print) -> int:
    from memcore.index import Index, Resize, build_index

    if not arguments.verify:
        if arguments.source is None:
            raise ConfigError(f"source is missing: {_SOURCE_HELP}")
        size = _size(arguments.resize)
        background = _colour(arguments.background)
        counter = None if arguments.quiet else _Counter()
        build_index(
            arguments.index,
            open_described(arguments),
            resize=Resize(*size, arguments.resize_method, arguments.resize_fit) if size else None,
            background=background,
            coarse=arguments.coarse,
            fine=arguments.fine,
            shard_images=arguments.shard_images,
            threads=arguments.threads,
            progress=counter,
        )
        if counter:
            counter.close()
    opened = Index.open(arguments.index, verify=arguments.verify)
    result = opened.describe()
    lines = [
        f"{len(opened)} images of {'x'.join(map(str, opened.image_shape))} in {len(opened.shards)} shards, "
        f"{result['unreadable']} unreadable"
    ]
    if result["resize"]:
        r = result["resize"]
        lines.append(f"resized to {r['height']}x{r['width']} ({r['method']}, {r['fit']})")
    if arguments.verify:
        lines.append("all checksums are right")
    if result["unreadable"]:
        reasons: dict[str, int] = {}
        for row in opened.quarantine():
            reasons[row["reason"]] = reasons.get(row["reason"], 0) + 1
        result["reasons"] = reasons
        lines.append(", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items())))
    show(arguments, result, lines)
    return 0


def _match(arguments: argparse.Namespace, show: Print) -> int:
    from memcore.matching.match_run import match_run

    for name in ("threads", "neighbors"):
        if getattr(arguments, name) is not None and getattr(arguments, name) < 1:
            raise ConfigError(f"{name} must be at least 1, got {getattr(arguments, name)}")
    rows = match_run(
        arguments.run,
        arguments.training,
        index=arguments.index,
        delta=arguments.delta,
        metric=arguments.distance,
        neighbors=arguments.neighbors,
        adaptive=arguments.adaptive,
        threads=arguments.threads,
    )
    extracted = sum(bool(row["extracted"]) for row in rows)
    result = {"run": str(arguments.run), "findings": len(rows), "extracted": extracted}
    show(arguments, result, [f"{extracted} of {len(rows)} findings are copies of a training image"])
    return 0


def _prompts(arguments: argparse.Namespace, show: Print) -> int:
    from memcore.duplicates import most_duplicated

    if (arguments.index is None) == (arguments.embeddings is None):
        raise ConfigError("give either index, or embeddings with source")
    if arguments.engine == "faiss" and arguments.embeddings is None:
        raise ConfigError("engine faiss needs embeddings: images have an exact search of their own")
    options: dict[str, Any] = {"top": arguments.top, "min_count": arguments.min_count}
    if arguments.threshold is not None:
        options["threshold"] = arguments.threshold
    if arguments.index is not None:
        from memcore.index import Index

        result = most_duplicated.prompts_from_index(
            Index.open(arguments.index),
            arguments.out,
            metric=arguments.distance,
            threads=arguments.threads,
            **options,
        )
    else:
        import numpy as np

        if arguments.source is None:
            raise ConfigError(f"source is missing: {_SOURCE_HELP}")
        try:
            embeddings = np.load(arguments.embeddings, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ConfigError(f"embeddings={arguments.embeddings} cannot be read: {error}") from None
        result = most_duplicated.prompts_from_embeddings(
            embeddings, open_described(arguments), arguments.out, engine=arguments.engine, **options
        )
    lines = [
        f"{result['prompts']} prompts of {result['groups']} groups of duplicates; the largest has "
        f"{result['largest']} images"
    ]
    if result["without_caption"] or result["repeated_captions"]:
        lines.append(
            f"left out: {result['without_caption']} groups without a caption, "
            f"{result['repeated_captions']} captions that were there already"
        )
    show(arguments, dict(result), lines)
    return 0


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        height, width = (int(v) for v in text.lower().split("x"))
    except ValueError:
        raise ConfigError(f"resize must look like 512x512 (height x width), got {text!r}") from None
    return height, width


def _colour(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    try:
        r, g, b = (int(v) for v in text.split(","))
    except ValueError:
        raise ConfigError(f"background must look like 255,255,255, got {text!r}") from None
    if not all(0 <= v <= 255 for v in (r, g, b)):
        raise ConfigError(f"background must be three numbers from 0 to 255, got {text!r}")
    return r, g, b


class _Counter:
    """Images so far: a line that moves on a terminal, a line now and then in a log."""

    def __init__(self) -> None:
        import time

        self._clock = time.monotonic
        self._started = self._shown = self._clock()
        self._live = sys.stderr.isatty()
        self._last = ""

    def __call__(self, images: int, broken: int) -> None:
        now = self._clock()
        self._last = f"{images} images, {broken} unreadable, {now - self._started:.0f} s"
        if now - self._shown < (0.2 if self._live else 30):
            return
        self._shown = now
        print(
            f"\r{self._last}" if self._live else self._last, end="" if self._live else "\n", file=sys.stderr
        )

    def close(self) -> None:
        if self._live and self._last:
            print(f"\r{self._last}", file=sys.stderr)
