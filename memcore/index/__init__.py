"""A training set as block-sum sketches on disk, searched exactly whatever its size.

``build_index`` writes one from a source (a folder, tars, Parquet, .npy), ``Index.open`` reads it, ``nearest`` and
``match_index`` search it.
"""

from typing import TYPE_CHECKING, Any

from memcore.images.resize import Resize
from memcore.index.build import build_index
from memcore.index.reader import Index
from memcore.index.search import nearest
from memcore.sources.open import open_source

if TYPE_CHECKING:
    from memcore.matching.indexed import match_index

__all__ = ["Index", "Resize", "build_index", "match_index", "nearest", "open_source"]


def __getattr__(name: str) -> Any:
    """Return ``match_index`` from ``memcore.matching``, which itself imports this package."""
    if name == "match_index":
        from memcore.matching.indexed import match_index

        return match_index
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
