"""Triton kernels of memcore. Imports torch and triton, never memcore."""

from memcore_kernels.threshold_graph import DeviceGraphs
from memcore_kernels.tiled_l2 import tiled_l2_ssd

__all__ = ["DeviceGraphs", "tiled_l2_ssd"]
