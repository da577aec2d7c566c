"""The former name of ``proof.compiled_cases``."""

from memcore_kernels.proof.compiled_cases import *  # noqa: F403
