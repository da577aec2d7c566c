"""``memcore prompts``."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from memcore.commands import _options
from memcore.commands._answer import Answer
from memcore.commands._checks import verdict_code
from memcore.errors import ConfigError
from memcore.system.units import count

if TYPE_CHECKING:
    from memcore.duplicates.most_duplicated import PromptsRecord
    from memcore.runs.completeness import Gap

    Grouped: TypeAlias = tuple[PromptsRecord, list[Gap]]

NAME = "prompts"
HELP = "list the captions of the most-duplicated training images"
#: Those of memcore.duplicates, which needs more than NumPy: its help must not.
_ENGINES = ("exact", "faiss")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the output, the training set and what counts as a duplicate."""
    parser.add_argument("out", type=Path, metavar="OUT.parquet", help="for memcore audit --prompts")
    parser.add_argument(
        "--index", type=Path, help="group by the images themselves: an index of memcore index"
    )
    parser.add_argument(
        "--embeddings", type=Path, help="or by cosine: .npy (N, D), a row for each entry of --source"
    )
    parser.add_argument(
        "--source",
        type=Path,
        action="append",
        default=[],
        help=f"with --embeddings: {_options.SOURCE_HELP}; with --index: where the images are that were indexed, may be "
        "repeated",
    )
    _options.add_trust_paths(parser, "with --index: read the images where the index says that they are")
    _options.add_source(parser)
    parser.add_argument(
        "--engine",
        choices=_ENGINES,
        default="exact",
        help="what multiplies embeddings; the groups are the same (default: %(default)s)",
    )
    _options.add_distance(parser, default="tiled_l2")
    parser.add_argument(
        "--threshold",
        type=float,
        help="largest distance (default: 0.05), or least cosine (default: 0.95), of duplicates",
    )
    parser.add_argument("--top", type=int, default=350_000, help="most prompts (default: %(default)s)")
    parser.add_argument(
        "--min-count", type=int, default=2, help="least copies of a prompt (default: %(default)s)"
    )
    _options.add_threads(parser)
    _options.add_allow_incomplete(parser)


def run(arguments: argparse.Namespace) -> Answer:
    """Group the training images and write their captions."""
    if (arguments.index is None) == (arguments.embeddings is None):
        raise ConfigError("give either index, or embeddings with source")
    if arguments.engine == "faiss" and arguments.embeddings is None:
        raise ConfigError("engine faiss needs embeddings: images have an exact search of their own")
    if arguments.trust_paths and arguments.index is None:
        raise ConfigError("trust-paths is of what an index names: give it with --index")
    from memcore.runs.completeness import incomplete_lines
    from memcore.sources.coverage import coverage_line

    options: dict[str, Any] = {"top": arguments.top, "min_count": arguments.min_count}
    if arguments.threshold is not None:
        options["threshold"] = arguments.threshold
    grouped = _by_images if arguments.index is not None else _by_embeddings
    result, missing = grouped(arguments, options)
    prompts, groups, largest = result["prompts"], result["groups"], result["largest"]
    lines = [
        f"{count(prompts, 'prompt')} of {count(groups, 'group')} of duplicates; the largest has {count(largest, 'image')}"
    ]
    if result["without_caption"] or result["repeated_captions"]:
        lines.append(
            f"left out: {count(result['without_caption'], 'group')} without a caption, "
            f"{count(result['repeated_captions'], 'caption')} that another group has"
        )
    coverage = result.get("coverage")
    if coverage is not None:
        lines.append(f"training images: {coverage_line(coverage)}")
    gaps = [gap.as_dict() for gap in missing]
    lines.extend(incomplete_lines(gaps))
    return Answer({**result, "incomplete": gaps}, lines, verdict_code(arguments, gaps))


def _by_images(arguments: argparse.Namespace, options: dict[str, Any]) -> Grouped:
    from memcore.duplicates.most_duplicated import prompts_from_index
    from memcore.index import Index
    from memcore.runs.completeness import caption_gaps, index_gaps

    index = Index.open(arguments.index, moved=arguments.source, trust_paths=arguments.trust_paths)
    if not arguments.trust_paths:
        index.check_sources()  # now, not after all pairs were searched
    result = prompts_from_index(
        index, arguments.out, metric=arguments.distance, threads=arguments.threads, **options
    )
    result["coverage"] = coverage = index.coverage()
    reasons = Counter(row["reason"] for row in index.quarantine())
    return result, [*index_gaps(coverage, reasons, index.image_shape), *caption_gaps(coverage, reasons)]


def _by_embeddings(arguments: argparse.Namespace, options: dict[str, Any]) -> Grouped:
    from memcore.duplicates.embeddings import EmbeddingsFile
    from memcore.duplicates.most_duplicated import prompts_from_embeddings
    from memcore.runs.completeness import caption_gaps

    if not arguments.source:
        raise ConfigError(f"source is missing: {_options.SOURCE_HELP}")
    if len(arguments.source) > 1:
        raise ConfigError(f"source is one place with embeddings, got {len(arguments.source)}")
    result = prompts_from_embeddings(
        EmbeddingsFile(arguments.embeddings),
        _options.open_described(arguments, arguments.source[0]),
        arguments.out,
        engine=arguments.engine,
        **options,
    )
    # an image that cannot be read is grouped all the same: its embedding was given
    return result, caption_gaps(result.get("coverage"), {})
