"""Dense tiled l2, N x N, against its peers and against the core's own peak, on every instruction set."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import memcore
from memcore import _core, isa
from memcore.bench import kinds, peers
from memcore.bench.child import environment
from memcore.bench.machine import others_running
from memcore.bench.rows import SHARE, US_A_CALL, Row, Target
from memcore.bench.timing import (
    LONGEST_AGAIN_S,
    Spread,
    WrongAnswerError,
    alone,
    in_turn,
    measure,
    measured_rate,
    require_equal,
)
from memcore.system.cpus import processors
from memcore.types import Output

#: (images, output, threads) -> (N, N): what is timed; a test passes a wrong one.
Kernel = Callable[[NDArray[np.uint8], Output, int], Any]

GRID = (4, 4)
KIND = "12 duplicates"
VNNI = "avx512vnni"

TARGETS = {
    "numkong dots_symmetric": Target("dense against numkong dots_symmetric + NumPy", ">=", 2.2),
    "torch.cdist": Target("dense against torch.cdist per tile", ">=", 20),
    "faiss pairwise_distances": Target("dense against faiss pairwise", ">=", 9),
    "numpy float32 GEMM": Target("dense against numpy float32", ">=", 6),
}


def memcore_kernel(images: NDArray[np.uint8], output: Output, threads: int) -> Any:
    """Call the public function, as a user does."""
    return memcore.pairwise_tiled_l2(images, grid=GRID, output=output, threads=threads)


def tile_shape(images: NDArray[np.uint8]) -> tuple[int, int]:
    """Return height and width of a tile of the 4 x 4 grid."""
    return images.shape[1] // GRID[0], images.shape[2] // GRID[1]


def tile_bytes(images: NDArray[np.uint8]) -> int:
    """Return K, the bytes of a tile."""
    height, width = tile_shape(images)
    return height * width * int(images.shape[3])


def verify(images: NDArray[np.uint8], kernel: Kernel = memcore_kernel, *, sample: int = 12) -> NDArray[Any]:
    """Return the kernel's ssd of all pairs, after comparing ``sample`` rows and columns with the int64 oracle.

    Raises WrongAnswerError; nothing may be timed then.
    """
    n = len(images)
    random = np.random.default_rng(n)
    some = np.sort(random.permutation(n)[:sample])
    # Copies among the columns, so that small sums are compared with the oracle as well as large ones.
    copies = [i for i in kinds.planted(KIND, n) if i < n][: sample // 2]
    columns = np.unique(
        np.concatenate([random.permutation(n)[: sample - len(copies)], copies]).astype(np.int64)
    )
    rows = np.unique(np.concatenate([some, columns[:2]]))
    ssd = np.asarray(kernel(images, "ssd", 1))
    what = f"dense on {isa.active()}"
    if ssd.shape != (n, n):
        raise WrongAnswerError(f"{what}: shape {ssd.shape} instead of {(n, n)}; nothing was timed")
    require_equal(
        what, ssd[np.ix_(rows, columns)], peers.oracle_rows(images, rows, columns, tile_shape(images))
    )
    require_equal(f"{what}, symmetry", ssd, ssd.T)
    distances = np.asarray(kernel(images, "distance", 1))
    require_equal(
        f"{what}, distances", distances, exact_distances(ssd, tile_bytes(images)).astype(np.float32)
    )
    return ssd


def exact_distances(ssd: NDArray[Any], k: int) -> NDArray[np.float64]:
    """Return sqrt(ssd / (K * 255^2)) in float64."""
    answer: NDArray[np.float64] = np.sqrt(ssd.astype(np.float64) / (k * 255**2))
    return answer


def largest_error(distances: NDArray[Any], exact: NDArray[np.float64]) -> float:
    """Return the largest error of all pairs of two images; 0 if only the rounding to the result's dtype is left."""
    pairs = ~np.eye(len(exact), dtype=np.bool_)
    if np.array_equal(distances[pairs], exact[pairs].astype(distances.dtype)):
        return 0.0
    difference = np.abs(distances.astype(np.float64) - exact)[pairs]
    return float(np.nan_to_num(difference, nan=np.inf).max())


def multiply_adds(images: NDArray[np.uint8]) -> int:
    """Return the multiply-adds that the answer needs: each pair once, and each image's norm."""
    n = len(images)
    return n * (n + 1) // 2 * int(images[0].size)


def run(quick: bool, *, kernel: Kernel = memcore_kernel) -> Iterator[Row]:
    """Measure all rows: the active instruction set against all peers, then the weaker ones against the honest one."""
    n, size = (64, 256) if quick else (500, 512)
    rounds, budget_s = (3, 1.0) if quick else (5, 10.0)
    images = kinds.images(KIND, n, size)
    work = f"N x N distances of {n} images {size}x{size}x3, {KIND}"
    active = isa.active()
    yield from against_peers(images, work, peers.DENSE, rounds, budget_s, kernel=kernel)
    yield from against_peaks(images, work, rounds, kernel=kernel)
    yield two_threads(images, work, rounds, kernel=kernel)
    # The weaker ones take up to a hundred times as long, and their ratios hardly depend on N.
    fewer = images if quick else images[: n // 4]
    work_fewer = work.replace(str(n), str(len(fewer)), 1)
    weaker = isa.available()[: isa.available().index(active)]
    for name in reversed(weaker):
        with isa.using(name):
            yield from against_peers(
                fewer, work_fewer, peers.DENSE[:2], rounds, budget_s, kernel=kernel, aimed=False
            )
            yield against_peak(fewer, work_fewer, rounds, kernel=kernel)
    yield call_overhead(rounds)
    yield from extra_memory(n, size)


def against_peers(
    images: NDArray[np.uint8],
    work: str,
    chosen: Sequence[peers.Peer],
    rounds: int,
    budget_s: float,
    *,
    kernel: Kernel = memcore_kernel,
    aimed: bool = True,
) -> Iterator[Row]:
    """Measure one row a peer, in turn with us; the answer is compared with the oracle before the first is timed."""
    exact = exact_distances(verify(images, kernel), tile_bytes(images))
    tile = tile_shape(images)
    for peer in chosen:
        target = TARGETS.get(peer.name) if aimed else None
        absent = peers.missing(peer.module)
        if absent is not None:
            yield Row("dense", work, peer.name, isa.active(), target=target, note=absent)
            continue
        error = largest_error(np.asarray(peer.run(images, tile)), exact)
        ours = functools.partial(kernel, images, "distance", 1)
        pairs = in_turn(ours, functools.partial(peer.run, images, tile), rounds, budget_s)
        yield Row(
            "dense",
            work,
            peer.name,
            isa.active(),
            value=pairs.times_faster,
            ours_s=Spread.of(pairs.ours_s),
            other_s=Spread.of(pairs.other_s),
            rounds=len(pairs.ours_s),
            largest_error=error,
            target=target,
        )


def against_peaks(
    images: NDArray[np.uint8], work: str, rounds: int, *, kernel: Kernel = memcore_kernel
) -> Iterator[Row]:
    """Measure against the loop of AVX-512 VNNI, for which the target is stated, and against that of the active set."""
    target = Target("dense, share of the core's own VNNI peak loop", ">=", 0.85)
    active = isa.active()
    vnni = VNNI if VNNI in isa.available()[: isa.available().index(active)] else active
    yield against_peak(images, work, rounds, kernel=kernel, target=target, loop=vnni)
    if vnni != active:
        yield against_peak(images, work, rounds, kernel=kernel)


def against_peak(
    images: NDArray[np.uint8],
    work: str,
    rounds: int,
    *,
    kernel: Kernel = memcore_kernel,
    target: Target | None = None,
    loop: str | None = None,
) -> Row:
    """Measure useful multiply-adds a second, as a share of the core's own loop of nothing but multiply-adds.

    ``loop`` is the instruction set of that loop; the active one if it is not given.
    """
    active = isa.active()
    name = f"own multiply-add peak, {loop or active}"
    if not hasattr(_core, "multiply_add_peak"):
        return Row("dense", work, name, active, SHARE, target=target, note="the core has no peak probe")
    useful = multiply_adds(images)
    shares, ours_s, other_s = [], [], []
    kernel(images, "ssd", 1)
    with isa.using(loop or active):
        iterations = _peak_iterations()

    def peak() -> float:
        with isa.using(loop or active):
            return measured_rate(functools.partial(_core.multiply_add_peak, iterations))

    for _ in range(rounds):
        before = peak()
        seconds = measure(lambda: kernel(images, "ssd", 1))
        # The clock speed wanders: the loop is measured on both sides.
        rate = (before + peak()) / 2
        shares.append(useful / seconds / rate)
        ours_s.append(seconds)
        other_s.append(useful / rate)
    return Row(
        "dense",
        work,
        name,
        active,
        SHARE,
        value=Spread.of(shares),
        ours_s=Spread.of(ours_s),
        other_s=Spread.of(other_s),
        rounds=rounds,
        target=target,
        note=f"peak {useful / float(np.median(other_s)) / 1e9:.0f} GMAC/s",
    )


def _peak_iterations() -> int:
    """Return the iterations of the peak loop that take about a tenth of ``LONGEST_AGAIN_S``."""
    few = 1000
    return max(few, round(few * LONGEST_AGAIN_S / 10 / measure(lambda: _core.multiply_add_peak(few))))


def two_threads(images: NDArray[np.uint8], work: str, rounds: int, *, kernel: Kernel = memcore_kernel) -> Row:
    """Measure two threads against one."""
    target = Target("dense, two threads against one", ">=", 1.85)
    name = "memcore itself, two threads against one"
    busy = others_running()
    if processors() - busy < 2:
        note = f"of {processors()} processors, others take {busy}"
        return Row("dense", work, name, isa.active(), target=target, note=note)
    one = np.asarray(kernel(images, "ssd", 1))
    require_equal("dense with two threads", np.asarray(kernel(images, "ssd", 2)), one)
    pairs = in_turn(lambda: kernel(images, "ssd", 2), lambda: kernel(images, "ssd", 1), max(rounds, 7))
    return Row(
        "dense",
        work,
        name,
        isa.active(),
        value=pairs.times_faster,
        ours_s=Spread.of(pairs.ours_s),
        other_s=Spread.of(pairs.other_s),
        rounds=len(pairs.ours_s),
        target=target,
    )


def call_overhead(rounds: int) -> Row:
    """Measure a call with next to no work: two images of 64 x 64."""
    images = np.zeros((2, 64, 64, 3), dtype=np.uint8)
    images[1] = 255
    verify(images)
    seconds = Spread.of(
        [1e6 * s for s in alone(lambda: memcore_kernel(images, "distance", 1), max(rounds, 9))]
    )
    return Row(
        "dense",
        "2 images 64x64x3",
        "a whole call",
        isa.active(),
        US_A_CALL,
        value=seconds,
        rounds=max(rounds, 9),
        target=Target("call overhead, N = 2, 64x64, us", "<=", 20),
    )


def extra_memory(n: int, size: int) -> Iterator[Row]:
    """Measure peak memory beyond the input and the answer, as a share of the input; in a process of its own."""
    for operation in ("dense", "graph"):
        target = Target(
            f"{operation}: memory beyond the input and the answer, share of the input", "<=", 0.15
        )
        work = f"{n} images {size}x{size}x3, {KIND}"
        command = [sys.executable, "-m", "memcore.bench.memory", operation, str(n), str(size)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
        answer = (
            json.loads(done.stdout) if done.returncode == 0 else {"note": f"failed: {done.stderr[-200:]}"}
        )
        if "note" in answer:
            yield Row("memory", work, operation, isa.active(), SHARE, target=target, note=answer["note"])
            continue
        share = float(answer["share"])
        yield Row(
            "memory",
            work,
            operation,
            isa.active(),
            SHARE,
            value=Spread(share, share, share),
            rounds=1,
            target=target,
        )
