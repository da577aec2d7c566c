"""Faults planted in the shipped kernels turn the tests red: each by a stray access, a race or a wrong answer."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import memcore_kernels
import numpy as np
import pytest
import torch
from memcore_kernels import block_bounds, memory_layout, plan, threshold_graph, tiled_l2

from memcore.backends import gpu_clique, reference
from tests.support.interpreter_check import watched

FOLDER = Path(memcore_kernels.__file__).parent
TILE = (4, 16)
SSD_MAX = int(0.15**2 * 255**2 * 4 * 16)


def load(name: str, before: str, after: str, folder: Path) -> ModuleType:
    """A module of memcore_kernels with one piece of its text replaced."""
    text = (FOLDER / f"{name}.py").read_text()
    assert before in text, f"{name}.py has no {before!r} any more: plant the fault elsewhere"
    path = folder / f"{name}_with_a_fault.py"
    path.write_text(text.replace(before, after))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def images(n: int) -> torch.Tensor:
    rng = np.random.default_rng(n)
    found = rng.integers(0, 256, (n, 8, 16, 1), dtype=np.uint8)
    base = rng.integers(80, 176, (8, 16, 1))
    found[::3] = base + rng.integers(-8, 9, (len(found[::3]), 8, 16, 1))
    # Near in the first tile; in the last one far, with the same means: only the exact product tells.
    found[1] = base
    found[1, 4:] = base[4:] + np.where(np.arange(16) % 2, 64, -64)[:, None]
    return torch.from_numpy(found)


def graph(module: ModuleType) -> None:
    """70 images, so that there are three blocks of pairs, whose two tiles go to two programs."""
    pixels = images(70)
    kernels = {name: getattr(module, name) for name in ("candidates_kernel", "verify_kernel")}
    small = threshold_graph.Config(64, 64, 2, warps=4)
    with pytest.MonkeyPatch.context() as patch:
        for name, kernel in kernels.items():
            patch.setattr(threshold_graph, name, kernel)
        patch.setattr(threshold_graph, "choose_config", lambda *_: small)
        graph_of(pixels)


def graph_of(pixels: torch.Tensor) -> None:
    """The bits of one prompt equal the oracle's."""
    graphs = threshold_graph.DeviceGraphs(1, 70, (8, 16, 1), tile=TILE, ssd_max=SSD_MAX, device="cpu")
    graphs.schedule = lambda _: (4, 1)
    with watched(1):
        graphs.extend(pixels, [(0, 0, 70)])
    ssd = reference.tiled_l2_ssd(pixels[None].numpy(), None, TILE)[0].astype(np.int64)
    expected = torch.from_numpy(ssd <= SSD_MAX).fill_diagonal_(False)
    assert expected.any()
    assert torch.equal(gpu_clique.unpack(graphs.bits[0], 70), expected)


def intake(module: ModuleType) -> None:
    """Images, means, spreads and norms of five images, whose programs have room for more; then of three segments."""
    pixels = images(5)
    lines = memory_layout.describe([pixels[None].movedim(-1, 2)], TILE)
    cut = pixels.reshape(5, 2, 4, 16)
    stored, where = torch.tensor([[3, 0, 4, 1, 2], [1, 2, 3, 4, 0]])
    both = torch.stack([stored, where], 1)
    blocks = block_bounds.choose_blocks(lines)
    assert blocks is not None
    rows, width = blocks.rows, blocks.width
    sums = cut.reshape(5, 2, 4 // rows, rows, 16 // width, width).long().sum((3, 5)).flatten(2)
    for most, step in ((10**6, 128), (32, 32)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(memory_layout, "MAX_SEGMENT_BYTES", most)
            segment, count = memory_layout.segments(64, step)
            for cut_by in (blocks, None):
                store = torch.zeros_like(pixels)
                means = torch.zeros(5, lines.tiles, blocks.stored, dtype=torch.uint8)
                spreads = torch.zeros(lines.tiles, 5, dtype=torch.int32)
                norms = torch.zeros(lines.tiles, count, 5, dtype=torch.int32)
                listed = torch.ones(1, dtype=torch.int32)
                launch = module.Intake(lines, cut_by, step)
                if cut_by is None:  # 64 bytes at a time, more than a segment of 32, whose end is to stop them
                    launch.constants["STEP"] = 16
                with watched(2):
                    launch.launch(pixels, both, launch.rows_of(store), means, spreads, norms, listed)
                assert not listed.any()
                assert torch.equal(store[stored], pixels)
                padded = torch.nn.functional.pad(cut.flatten(2), (0, segment * count - 64))
                squares = ((padded.long() - 128) ** 2).reshape(5, 2, count, segment).sum(-1)
                assert torch.equal(norms[..., where].long(), squares.permute(1, 2, 0))
                if cut_by:
                    assert torch.equal(means[where, :, : blocks.count].long(), sums // blocks.size)
                    assert torch.equal(spreads.T.long(), ((means.long() - 128) ** 2).sum(-1))


def blocks(module: ModuleType) -> None:
    """The dense kernel by descriptors: two sets, two segments, of which the second's last block is not there."""
    rng = np.random.default_rng(5)
    pixels = torch.from_numpy(rng.integers(0, 256, (3, 18, 128, 1), dtype=np.uint8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiled_l2, "capability_of", lambda _: (9, 0))
        patch.setattr(memory_layout, "MAX_SEGMENT_BYTES", 1000)
        patch.setattr(tiled_l2, "tile_ssd", module.tile_ssd)
        patch.setattr(tiled_l2, "descriptor", module.descriptor)
        with watched(4):
            found = tiled_l2.tiled_l2_ssd(pixels, pixels[1:], tile=(9, 128), channels="last")
    arrays = pixels[None].numpy()
    expected = reference.tiled_l2_ssd(arrays, arrays[:, 1:], (9, 128))[0].astype(np.int64)
    assert found.tolist() == expected.tolist()


def dense(module: ModuleType) -> None:
    """The dense kernel by pointers, 70 images, each of two tiles in a program of its own."""
    pixels = images(70)
    with pytest.MonkeyPatch.context() as patch, watched(5):
        patch.setattr(plan, "PROGRAM_BYTES", 1)  # a program for each tile
        found = module.tiled_l2_ssd(pixels, tile=TILE, channels="last")
    expected = reference.tiled_l2_ssd(pixels[None].numpy(), None, TILE)[0].astype(np.int64)
    assert found.tolist() == expected.tolist()


def nearest(module: ModuleType) -> None:
    """Three queries, 70 rows in several parts, many ties."""
    module.choose_config = lambda *_: module.Config(16, 32, 64, 2, 4)
    rng = np.random.default_rng(3)
    queries, corpus = (torch.from_numpy(rng.integers(0, 3, (n, 40), dtype=np.uint8)) for n in (3, 70))
    with watched(3):
        ssd, indices = module.knn(queries, corpus, 7)
    expected_ssd, expected_indices = reference.knn(queries.numpy(), corpus.numpy(), 7)
    assert ssd.tolist() == expected_ssd.tolist()
    assert indices.tolist() == expected_indices.tolist()


CHECKS: dict[str, Callable[[ModuleType], None]] = {
    "graph_kernels": graph,
    "intake": intake,
    "knn": nearest,
    "tile_blocks": blocks,
    "tiled_l2": dense,
}

#: What it is, module, text, what it becomes, what is to be seen.
FAULTS = [
    (
        "a lost update of bits",
        "graph_kernels",
        'tl.atomic_and(below, edges, mask=below_exists, sem="relaxed")',
        "tl.store(below, tl.load(below, mask=below_exists) & edges, mask=below_exists)",
        "Race",
    ),
    (
        "a lost update of the counter",
        "graph_kernels",
        'place = tl.atomic_add(count_ptr, 1, sem="relaxed")',
        "place = tl.load(count_ptr)\n            tl.store(count_ptr, place + 1)",
        "Race",
    ),
    (
        "rows past the end",
        "graph_kernels",
        "(row < capacity)[:, None] & (word < words)[None, :]",
        "(row < 1024)[:, None] & (word < words)[None, :]",
        "OutOfBounds",
    ),
    (
        "programs that count on their order",
        "graph_kernels",
        "tl.store(list_ptr + place, prompt",
        "tl.store(list_ptr + tl.minimum(pid, 2) * (place > 0), prompt",
        "Race|assert",
    ),
    (
        "the last tile left out",
        "graph_kernels",
        "last = tl.minimum(t + tiles_per_program, tiles)",
        "last = tl.minimum(t + tiles_per_program, tiles - 1)",
        "assert",
    ),
    (
        "images that are none, stored",
        "intake",
        "tl.store(norm_ptr + t.to(tl.int64) * norm_stride + place, norm, mask=image < count)",
        "tl.store(norm_ptr + t.to(tl.int64) * norm_stride + place, norm)",
        "Race",
    ),
    (
        "a step past the end of a tile",
        "intake",
        "there_next = known & (below + following < BELOW) & (step + 1 < STEPS)",
        "there_next = known & (step + 1 < STEPS + 8)",
        "OutOfBounds",
    ),
    (
        "tiles and images taken for each other",
        "intake",
        "t = pid % tiles\n    first = pid // tiles * IMAGES",
        "t = pid // tiles\n    first = pid % tiles * IMAGES",
        "Race|assert",
    ),
    (
        "the next step's bytes stored in this one's place",
        "intake",
        "tl.store(to, x, mask=there[:, None])",
        "tl.store(to, x_next, mask=there[:, None])",
        "assert",
    ),
    (
        "images stored where their norms go",
        "intake",
        "target += stored_at[:, None] * image_stride",
        "target += position[:, None] * image_stride",
        "assert",
    ),
    (
        "a segment that goes on into the next",
        "intake",
        "(inside < SEGMENT)[None, :] & (k < K)[None, :]",
        "(k < K)[None, :]",
        "assert",
    ),
    (
        "the second segment's squares in the first",
        "intake",
        "tl.where(part == s, of_segment, 0)",
        "tl.where(part == 0, of_segment, 0)",
        "assert",
    ),
    (
        "padding of means left out of their spread",
        "intake",
        "+ (STORED - COUNT) * 128 * 128",
        "",
        "assert",
    ),
    (
        "a counter that two programs clear",
        "intake",
        "if pid == 0:",
        "if pid < 2:",
        "Race",
    ),
    (
        "the next tile's lines past the end of one",
        "tile_blocks",
        "image, line // ROWS, tile_row + line % ROWS,",
        "image, line * 0, tile_row + line,",
        "assert",
    ),
    (
        "a tile's norms for each of its segments",
        "tile_blocks",
        "tl.cast(t * SEGMENTS + segment, tl.int64)",
        "tl.cast(t * SEGMENTS, tl.int64)",
        "assert",
    ),
    (
        "a descriptor that reaches past the images",
        "tile_blocks",
        "[*layout.shape],",
        "[layout.shape[0], layout.shape[1] + 1, *layout.shape[2:]],",
        "OutOfBounds",
    ),
    (
        "rows of the output that are too short",
        "tiled_l2",
        "columns = n_blocks * BLOCK_N",
        "columns = m",
        "assert",
    ),
    (
        "a plain store where programs share a pair",
        "tiled_l2",
        'tl.atomic_max(pairs, largest, sem="relaxed")',
        "tl.store(pairs, tl.maximum(tl.load(pairs), largest))",
        "Race|assert",
    ),
    (
        "rows of the next part",
        "knn",
        "j_safe = tl.where(start + column < end, start + column, 0).to(tl.int64)",
        "j_safe = (start + column).to(tl.int64)",
        "OutOfBounds",
    ),
    (
        "parts that share their place",
        "knn",
        "place = (part.to(tl.int64) * queries + i[:, None]) * KEPT",
        "place = i[:, None].to(tl.int64) * KEPT",
        "Race",
    ),
    (
        "ties in any order",
        "knn",
        "(start + place)\n",
        "(rows - 1 - start - place)\n",
        "assert",
    ),
]


@pytest.mark.parametrize("module", CHECKS)
def test_without_a_fault(module: str, tmp_path: Path) -> None:
    CHECKS[module](load(module, "", "", tmp_path))


@pytest.mark.parametrize(
    ("module", "before", "after", "seen"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS]
)
def test_a_fault_is_seen(module: str, before: str, after: str, seen: str, tmp_path: Path) -> None:
    faulty = load(module, before, after, tmp_path)
    with pytest.raises(Exception, match=seen):
        CHECKS[module](faulty)
