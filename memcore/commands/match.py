"""``memcore match``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from memcore.commands import _options
from memcore.commands._answer import Answer
from memcore.commands._checks import check_positive, read_colour, verdict_code
from memcore.errors import ConfigError
from memcore.system.units import count

if TYPE_CHECKING:
    from memcore.runs.rows import MatchRow

EXAMPLES = (
    "memcore match RUN --training train/",
    "memcore match RUN --index INDEX --source train/ --distance tiled_l2 --delta 0.1",
)
NAME = "match"
HELP = "compare the findings with a training set"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run, the training set and what counts as a copy."""
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    against = parser.add_mutually_exclusive_group(required=True)
    against.add_argument("--training", type=Path, help="folder of images, .npy or .npz that fits into memory")
    against.add_argument("--index", type=Path, help="folder that memcore index has written")
    parser.add_argument(
        "--source",
        type=Path,
        action="append",
        default=[],
        help="with --index: where the images are that were indexed; may be repeated",
    )
    _options.add_trust_paths(parser, "with --index: read the images where the index says that they are")
    parser.add_argument(
        "--delta", type=float, default=0.15, help="largest distance of a copy (default: %(default)s)"
    )
    _options.add_distance(parser, default="l2")
    parser.add_argument(
        "--neighbors", type=int, default=5, help="nearest training images to list (default: %(default)s)"
    )
    parser.add_argument(
        "--adaptive",
        action="store_true",
        help="write the adaptive distance too, for small images (50 neighbours); it does not change the verdict",
    )
    parser.add_argument(
        "--copies",
        type=Path,
        metavar="FILE",
        help="how often each training image is in the training set: .npy, one number an image in their order, or "
        ".parquet with a column copies; without it the eidetic k is that of the distinct images given",
    )
    _options.add_resize(parser)
    _options.add_threads(parser)
    _options.add_allow_incomplete(parser)


def run(arguments: argparse.Namespace) -> Answer:
    """Write the run's matches."""
    from memcore.images.resize import describe_resize
    from memcore.matching.match_run import match_run
    from memcore.matching.metric import metric_label
    from memcore.runs.completeness import judge, not_decided_lines
    from memcore.runs.derived import read_match
    from memcore.runs.folder import RunFolder
    from memcore.sources.coverage import coverage_line

    check_positive(arguments, "threads", "neighbors")
    if arguments.source and arguments.index is None:
        raise ConfigError("source says where the data of an index is: give it with --index")
    if arguments.trust_paths and arguments.index is None:
        raise ConfigError("trust-paths is of what an index names: give it with --index")
    rows = match_run(
        arguments.run,
        arguments.training,
        index=arguments.index,
        sources=arguments.source,
        trust_paths=arguments.trust_paths,
        delta=arguments.delta,
        metric=arguments.distance,
        neighbors=arguments.neighbors,
        adaptive=arguments.adaptive,
        threads=arguments.threads,
        copies=arguments.copies,
        resize=_options.read_resize(arguments),
        background=read_colour(arguments.background),
    )
    extracted = sum(bool(row["extracted"]) for row in rows)
    folder = RunFolder.open(arguments.run)
    match = read_match(folder.storage)
    assert match is not None  # it was written just now
    gaps = judge(folder.storage, folder.meta).as_list()
    compared = int(match["count"])
    result = {
        "run": str(arguments.run),
        "findings": len(rows),
        "extracted": extracted,
        "training_images": compared,
        "eidetic_counts": "training set" if match.get("copies") is not None else "distinct images given",
        "not_decided": gaps,
        "coverage": match.get("coverage"),
        "resize": match.get("resize"),
    }
    near = f"{metric_label(arguments.distance)} at most {arguments.delta:g}"
    lines = [
        f"{extracted:,} of {count(len(rows), 'finding')} {'is a copy' if extracted == 1 else 'are copies'} of a training "
        f"image ({near}, {count(compared, 'training image')} compared)",
        *_eidetic_lines(rows, match.get("copies") is not None),
        *(_adaptive_lines(rows, metric_label(arguments.distance)) if arguments.adaptive else []),
        *not_decided_lines(gaps),
    ]
    if given := match.get("given"):
        lines.append(
            f"{count(given, 'finding')} close to a training image that {'was' if given == 1 else 'were'} given: no "
            f"{'extraction' if given == 1 else 'extractions'}"
        )
    if resize := match.get("resize"):
        lines.append(f"training images resized to {describe_resize(resize)}")
    if (coverage := match.get("coverage")) is not None:
        lines.append(f"training images: {coverage_line(coverage)}")
    return Answer(result, lines, verdict_code(arguments, gaps))


def _adaptive_lines(rows: Sequence[MatchRow], metric: str) -> list[str]:
    """Return how many findings the adaptive distance would call copies, and that it decides nothing."""
    near = sum(row["adaptive"] is not None and row["adaptive"] <= 1 for row in rows)
    return [
        f"adaptive distance at most 1, the paper's limit: {near} of {len(rows)} findings (column adaptive; the verdict is "
        f"by {metric} alone)"
    ]


def _eidetic_lines(rows: Sequence[MatchRow], counted: bool) -> list[str]:
    """Return the range of k over the extractions, and of what it is the k."""
    found = sorted(row["eidetic"] for row in rows if row["extracted"])
    if not found:
        return []
    k = f"{found[0]:,}" if found[0] == found[-1] else f"{found[0]:,} to {found[-1]:,}"
    of = "over the training set with its duplicates" if counted else "of the distinct images given"
    return [
        f"eidetic k = {k} {of}{'' if counted else ' (--copies says how often each is in the training set)'}"
    ]
