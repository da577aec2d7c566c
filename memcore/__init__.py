"""memcore finds the training images that an image generator has memorised, and proves it.

The functions here are the core: exact distances, graphs, cliques and nearest neighbours of uint8 images. Sampling lives
in ``memcore.sampling``, audits in ``memcore.audit`` and the ``memcore`` command, torch operators in ``memcore.torch_ops``.
Importing memcore loads NumPy and nothing heavier.
"""

# What follows needs the core: where it is not built, the first import would blame a circular one.
# ruff: noqa: E402
from memcore._program import end_plainly_on_ctrl_c

end_plainly_on_ctrl_c()

from memcore._unbuilt import require_core
from memcore._version import __version__

require_core()

from memcore import errors, isa, types
from memcore.clique import find_cliques, max_clique, max_cliques
from memcore.distance import pairwise_tiled_l2, to_uint8
from memcore.embedding import get_include, get_library
from memcore.graph import tiled_l2_graph
from memcore.graphs.device_prompts import DevicePrompts
from memcore.graphs.prompt_graph import PromptGraph
from memcore.knn import knn
from memcore.types import Clique, Cliques, Finding, Graph, Images, Neighbors, Request, Threshold

__all__ = [
    "Clique",
    "Cliques",
    "DevicePrompts",
    "Finding",
    "Graph",
    "Images",
    "Neighbors",
    "PromptGraph",
    "Request",
    "Threshold",
    "__version__",
    "errors",
    "find_cliques",
    "get_include",
    "get_library",
    "isa",
    "knn",
    "max_clique",
    "max_cliques",
    "pairwise_tiled_l2",
    "tiled_l2_graph",
    "to_uint8",
    "types",
]
