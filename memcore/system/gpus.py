"""The GPUs of this machine that a process may use."""

from __future__ import annotations

import os


def visible_gpus(device: str) -> tuple[str, ...]:
    """Return the GPUs that ``device`` stands for, each as CUDA_VISIBLE_DEVICES names it; none unless it is "cuda".

    "cuda:1" is one GPU, which whoever named it chose. Nothing is started on a GPU.

    >>> visible_gpus("cpu")
    ()
    """
    if device != "cuda":
        return ()
    import torch

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return tuple(named[:count] if named else map(str, range(count)))
