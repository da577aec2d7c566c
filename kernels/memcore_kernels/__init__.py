"""Triton kernels of memcore. Imports torch and triton, never memcore."""

from memcore_kernels.tiled_l2 import tiled_l2_ssd

__all__ = ["tiled_l2_ssd"]
