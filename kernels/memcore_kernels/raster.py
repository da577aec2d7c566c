"""The former name of ``memory_layout``."""

from memcore_kernels.memory_layout import *  # noqa: F403
