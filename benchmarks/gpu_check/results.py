"""What the parts of the check share: a case is one JSON line, so that a part that is ended early keeps what it had."""

from __future__ import annotations

import json
import os
import statistics
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import torch

#: The device of all tensors; a test sets it to the CPU.
DEVICE = os.environ.get("MEMCORE_CHECK_DEVICE", "cuda")
_BEGAN = time.monotonic()
#: Seconds after which a part begins no other case.
_ROOM = float(os.environ.get("MEMCORE_CHECK_ROOM", "60"))

Call = Callable[[], Any]


def case(kind: str, name: str, call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run a case and write its line: what it returned, or what it raised."""
    if time.monotonic() - _BEGAN > _ROOM:
        return _write({"kind": kind, "name": name, "ok": None, "why": "no time was left"})
    start = time.monotonic()
    try:
        row = {"kind": kind, "name": name, "ok": True, **call()}
    except Exception as error:
        traceback.print_exc()
        row = {"kind": kind, "name": name, "ok": False, "why": f"{type(error).__name__}: {str(error)[:300]}"}
    return _write(row | {"seconds": round(time.monotonic() - start, 2)})


def _write(row: dict[str, Any]) -> dict[str, Any]:
    if path := os.environ.get("MEMCORE_CHECK_LINES"):
        with open(path, "a") as file:
            file.write(json.dumps(row) + "\n")
    print(json.dumps(row), flush=True)
    return row


def require_same(found: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    """Raise AssertionError that names the first difference."""
    if torch.equal(found, expected):
        return
    wrong = (found != expected).nonzero()
    first = tuple(wrong[0].tolist())
    raise AssertionError(
        f"{what}: {len(wrong)} of {found.numel()} differ, first at {first}: "
        f"{found[first].item()} for {expected[first].item()}"
    )


def milliseconds(calls: Sequence[Call], rounds: int = 12) -> dict[str, float]:
    """Time calls one after the other, by events: median and least on the device, and microseconds until a call returns.

    The device sleeps first, so that the queue is never empty: what the host takes does not count as the device's.
    """
    for call in calls:
        call()
        call()
    torch.cuda.synchronize()
    device, host = [], []
    for number in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(4_000_000)
        start.record()
        began = time.perf_counter()
        calls[number % len(calls)]()
        host.append(1e6 * (time.perf_counter() - began))
        end.record()
        end.synchronize()
        device.append(start.elapsed_time(end))
    return {"ms": statistics.median(device), "ms_least": min(device), "host_us": statistics.median(host)}


def random_images(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator(DEVICE).manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, device=DEVICE, generator=generator)


def with_copies(seed: int, n: int, size: tuple[int, int, int], copies: int) -> torch.Tensor:
    """Return n random images, ``copies`` of them one image with noise of many strengths: pairs on both sides of 0.15."""
    images = random_images(seed, n, *size)
    generator = torch.Generator(DEVICE).manual_seed(seed + 1)
    where = torch.randperm(n, device=DEVICE, generator=generator)[:copies]
    base = torch.randint(60, 196, size, device=DEVICE, generator=generator).float()
    for number, place in enumerate(where.tolist()):
        noise = torch.randn(size, device=DEVICE, generator=generator) * (2 + 50 * number / copies)
        images[place] = (base + noise).clamp(0, 255).to(torch.uint8)
    return images


def exact_ssd(images: torch.Tensor, tile: tuple[int, int], other: torch.Tensor | None = None) -> torch.Tensor:
    """Return (N, M) int64 of (N, H, W, C) uint8, by products of doubles: each partial sum is an integer below 2^53."""
    _, height, width, channels = images.shape

    def cut(x: torch.Tensor) -> torch.Tensor:
        tiles = x.reshape(len(x), height // tile[0], tile[0], width // tile[1], tile[1], channels)
        return tiles.permute(1, 3, 0, 2, 4, 5).reshape(-1, len(x), tile[0] * tile[1] * channels)

    left = cut(images)
    right = left if other is None else cut(other)
    largest = torch.zeros(left.shape[1], right.shape[1], dtype=torch.float64, device=images.device)
    for p, q in zip(left.double(), right.double(), strict=True):
        ssd = (p * p).sum(1)[:, None] + (q * q).sum(1)[None, :] - 2 * (p @ q.T)
        largest = torch.maximum(largest, ssd)
    return largest.long()
