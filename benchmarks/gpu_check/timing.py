"""The device's own ceilings, then each kernel as a share of the better of them. Arguments: the groups, all without any."""

from __future__ import annotations

import functools
import sys
from typing import Any

import torch
import triton
import triton.language as tl
from checks import bits_of
from memcore_kernels import DeviceGraphs, tiled_l2_ssd
from memcore_kernels import knn as kernel
from results import Call, case, milliseconds, random_images, with_copies

from memcore.backends import gpu_clique
from memcore.bench import graphs as made

#: What a case must do, and how fast this device does it: set by ``ceilings``, which runs first.
_RATE = {"int8": 1979e12, "bytes": 4.8e12}


@triton.jit
def _read_again(x, out, size, REPEAT: tl.constexpr, BLOCK: tl.constexpr):
    total = tl.zeros((BLOCK,), tl.int32)
    for _ in range(REPEAT):
        for at in range(tl.program_id(0) * BLOCK, size, tl.num_programs(0) * BLOCK):
            total += tl.load(x + at + tl.arange(0, BLOCK), cache_modifier=".cg")
    tl.store(out + tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), total)


def _memory(size: int) -> tuple[float, float]:
    """Return milliseconds of a copy and of a read of ``size`` bytes, which are free again afterwards."""
    a = random_images(1, size)
    b = torch.empty_like(a)
    copy = milliseconds([lambda: b.copy_(a)], 8)["ms"]
    return copy, milliseconds([lambda: a.view(torch.int64).sum()], 8)["ms"]


def ceilings() -> dict[str, Any]:
    """Return rates of memory, of the L2 cache and of int8 products, and what a launch takes."""
    size = 1 << 32
    copy, read = _memory(size)
    _RATE["bytes"] = max(2 * size / copy, size / read) * 1000
    m = 8192
    p, q = (torch.randint(-128, 128, (m, m), dtype=torch.int8, device="cuda") for _ in range(2))
    int8 = milliseconds([lambda: torch._int_mm(p, q.T)], 10)["ms"]
    found = {
        "copy TB/s": 2 * size / copy / 1e9,
        "read TB/s": size / read / 1e9,
        "torch._int_mm TOPS": 2 * m**3 / int8 / 1e9,
    }
    programs = torch.cuda.get_device_properties(0).multi_processor_count * 8
    out = torch.empty(programs * 1024, dtype=torch.int32, device="cuda")
    for mib in (16, 30):
        x = torch.zeros(mib * 2**18, dtype=torch.int32, device="cuda")

        def again(x: torch.Tensor = x) -> None:
            _read_again[(programs,)](x, out, x.numel(), REPEAT=20, BLOCK=1024, num_warps=8)

        found[f"L2 read of {mib} MiB TB/s"] = 20 * 4 * x.numel() / milliseconds([again], 6)["ms"] / 1e9
    one = torch.zeros(1, device="cuda")
    found["torch launch us"] = milliseconds([lambda: one.add_(1)], 50)["host_us"]
    return {name: round(value, 3) for name, value in found.items()}


def measure(name: str, call: Call, *, operations: float = 0, moved: float = 0, items: int = 1) -> None:
    """Time a call. ``operations``: multiply-adds x 2 that it must do; ``moved``: bytes that must move once."""

    def timed() -> dict[str, Any]:
        found = milliseconds([call])
        floor = 1000 * max(operations / _RATE["int8"], moved / _RATE["bytes"])
        return {key: round(value, 4) for key, value in found.items()} | {
            "floor_ms": round(floor, 4),
            "share": round(floor / found["ms"], 3),
            "us_an_item": round(1000 * found["ms"] / items, 3),
        }

    case("time", name, timed)


def dense() -> None:
    for batch, n, size in ((1, 500, 512), (8, 500, 512), (1, 64, 512), (1, 500, 256), (1, 500, 1024)):
        images = random_images(30, batch, n, size, size, 3)
        call = functools.partial(tiled_l2_ssd, images, tile=(size // 4, size // 4), channels="last")
        bytes_ = size * size * 3
        measure(
            f"dense {batch} x {n} x {size}^2",
            call,
            operations=batch * n * (n - 1) * bytes_,
            moved=images.numel(),
            items=batch,
        )


def extend() -> None:
    for slots, each, copies, at_once in (
        (1, 500, 0, 500),
        (1, 500, 60, 500),
        (8, 500, 0, 4000),
        (8, 64, 0, 512),
        (1, 512, 0, 64),
    ):
        graphs = DeviceGraphs(
            slots,
            max(each, 64),
            (512, 512, 3),
            tile=(128, 128),
            ssd_max=int(0.15**2 * 255**2 * 49_152),
            device="cuda",
        )
        images = torch.cat([with_copies(50 + slot, each, (512, 512, 3), copies) for slot in range(slots)])

        def call(
            graphs: DeviceGraphs = graphs,
            images: torch.Tensor = images,
            each: int = each,
            at_once: int = at_once,
        ) -> None:
            for slot in range(len(graphs.counts)):
                graphs.clear(slot)
            for start in range(0, len(images), at_once):
                part = images[start : start + at_once]
                each_run = min(each, at_once)
                runs = [((start + at) // each, at, each_run) for at in range(0, len(part), each_run)]
                graphs.extend(part, runs)

        # Read once from the batch, written once to the slots; a fill of 32 kB a slot is timed with it.
        measure(
            f"extend {slots} x {each}, {copies} copies, {at_once} a call",
            call,
            moved=2 * images.numel(),
            items=slots,
        )


def knn() -> None:
    queries, corpus = random_images(60, 1001, 3072), random_images(61, 50_001, 3072)
    for k in (1, 10, 50, 128):
        measure(
            f"knn 1,001 x 50,001 x 3,072, k = {k}",
            functools.partial(kernel.knn, queries, corpus, k),
            operations=2 * 1001 * 50_001 * 3072,
            moved=(1001 + 50_001) * 3072,
        )


def cliques() -> None:
    usable, why = gpu_clique.available()
    if not usable:
        raise SystemExit(why)
    bits = bits_of(500, [made.memorised(500, seed) for seed in range(256)])
    for count in (1, 64, 1024):
        many = bits.repeat(-(-count // 256), 1, 1)[:count].contiguous()
        for least in (10, 200):  # with a core, and without
            decide = functools.partial(gpu_clique.has_cliques, many, min_size=least, node_limit=4096)
            measure(f"decide {count} x 500, a clique of {least}", decide, moved=4 * many.numel(), items=count)
        solve = functools.partial(gpu_clique.max_cliques, many, min_size=10, node_limit=4096)
        measure(f"solve {count} x 500", solve, moved=4 * many.numel(), items=count)


if __name__ == "__main__":
    case("ceiling", "this device", ceilings)
    groups = {"dense": dense, "extend": extend, "knn": knn, "cliques": cliques}
    for group in sys.argv[1:] or groups:
        groups[group]()
