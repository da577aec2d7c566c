"""A training set as block-sum sketches on disk: searched exactly, whatever its size.

``build_index`` writes one from a source (a folder, tars, Parquet, .npy), ``Index.open`` reads it, ``nearest`` and
``match_index`` search it, ``duplicate_groups`` finds what stands in it more than once.
"""

from memcore.images.resize import Resize
from memcore.index.build import build_index
from memcore.index.reader import Index
from memcore.index.search import nearest
from memcore.matching.indexed import match_index
from memcore.sources.open import open_source

__all__ = ["Index", "Resize", "build_index", "match_index", "nearest", "open_source"]
