"""What torch rounds float32 products to, and which kernels cuDNN chooses: both change images.

torch has two sets of names for the first, ``allow_tf32`` and ``fp32_precision``, and refuses to read the older one where a
program has set the newer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


def describe_precision(*, on_gpu: bool) -> dict[str, str]:
    """Return the precision of float32 products, as a fingerprint names it.

    On a GPU also that of cuDNN's convolutions, and which kernels give the same bits each time: cuDNN's always, all of them
    where the program asked torch for that, which can choose others.
    """
    described = {"matmul_precision": _matmul()}
    if on_gpu:
        described["convolution_precision"] = _convolution()
        described["deterministic_algorithms"] = _deterministic()
    return described


@contextlib.contextmanager
def deterministic_kernels() -> Iterator[None]:
    """Let cuDNN choose kernels by shape alone, and only those that give the same bits each time, for a while."""
    cudnn: Any = torch.backends.cudnn
    # Not cudnn.flags(): it wants to know allow_tf32, which cannot be read after fp32_precision was set.
    before = cudnn.benchmark, cudnn.deterministic
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before


def _matmul() -> str:
    try:
        return str(torch.get_float32_matmul_precision())
    except RuntimeError:  # the program uses the newer names
        return f"fp32_precision {_newer(torch.backends.cuda.matmul)}"


def _deterministic() -> str:
    if not torch.are_deterministic_algorithms_enabled():
        return "cudnn"
    return "all that there are" if torch.is_deterministic_algorithms_warn_only_enabled() else "all"


def _convolution() -> str:
    cudnn: Any = torch.backends.cudnn
    if hasattr(cudnn, "conv"):
        return _newer(cudnn.conv)
    return "tf32" if cudnn.allow_tf32 else "ieee"


def _newer(place: Any) -> str:
    """Return the precision that holds at one place of torch's tree of settings: "none" means that of all of them."""
    said = str(place.fp32_precision)
    return str(getattr(torch.backends, "fp32_precision", said)) if said == "none" else said
