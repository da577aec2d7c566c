"""Cliques of graphs on a CUDA device, by the CUDA part of the core. Only functions import torch.

Graphs are bits, as ``memcore_kernels.threshold_graph`` writes them: (G, n, W) int32, W = ceil(n / 32), with bit u % 32 of
word u // 32 of row v for the edge (v, u). Answers stay on the device until they are requested.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from memcore import _core
from memcore.errors import ArgumentTypeError, ArgumentValueError, DeviceError

if TYPE_CHECKING:
    import torch

#: Vertices of the largest graph that the kernel takes: a set is one 32-bit word in each of a warp's 32 lanes.
MAX_VERTICES = 1024
WORD_BITS = 32
#: Answers of ``has_cliques``: there is none, there is one, the node limit left it open.
NONE, SOME, OPEN = 0, 1, 2


class Found(NamedTuple):
    """One graph's answer on the host, in the form of the CPU solver."""

    members: tuple[int, ...]
    lower: int
    upper: int
    proven: bool
    nodes: int


def available() -> tuple[bool, str]:
    """Return whether this build can solve cliques on a CUDA device here, and the reason if not."""
    status = _core.cuda_status()
    return status["available"], status["reason"]


def max_cliques(bits: torch.Tensor, *, min_size: int, node_limit: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return members (G, W) int32 as bits and bounds (G, 4) int64 (lower, upper, proven, nodes) of bits (G, n, W) int32.

    The work is queued on the current stream of the tensor's device; this returns before it is done. ``min_size``,
    ``node_limit`` and the bounds are those of ``csrc/cuda/memcore_cuda.h``. Raises DeviceError where the core has no CUDA
    part or the device does not answer, ArgumentTypeError or ArgumentValueError for another dtype or shape.
    """
    import torch

    _check_bits(bits)
    _check_device(bits)
    stream = torch.cuda.current_stream(bits.device).cuda_stream
    return launch(_core, bits.contiguous(), bits.device.index, stream, min_size, node_limit)


def launch(
    library: Any, bits: torch.Tensor, device: int, stream: int, min_size: int, node_limit: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Call ``library``, the core or a substitute for it, with the addresses of contiguous tensors."""
    graphs, n, words = bits.shape
    members = bits.new_empty((graphs, words))
    bounds = bits.new_empty((graphs, 4)).long()
    size = library.cuda_max_clique_workspace(device, n, graphs)
    if size < 0:
        raise DeviceError(
            f"device {device} does not answer: no workspace for {graphs} graphs on {n} vertices"
        )
    # The allocator reuses memory in the order of the stream, so this may be freed before the kernel has run.
    workspace = bits.new_empty((size // 4,))
    error = library.cuda_max_clique(
        device,
        stream,
        bits.data_ptr(),
        n,
        graphs,
        min_size,
        node_limit,
        members.data_ptr(),
        bounds.data_ptr(),
        workspace.data_ptr(),
    )
    if error:
        raise DeviceError(
            f"the clique kernel did not start on device {device}: {library.cuda_error(error)} ({error})"
        )
    return members, bounds


def has_cliques(
    bits: torch.Tensor, *, min_size: int, node_limit: int, slots: torch.Tensor | None = None
) -> torch.Tensor:
    """Return (G, 2) int32 on the device: whether each graph has a clique of ``min_size``, and its number of edges.

    The first number is ``NONE`` or ``SOME``, which are proven, or ``OPEN`` where the node limit was reached: then the CPU is
    to decide. ``bits`` (S, n, W) int32; ``slots`` (G,) int32 on the same device: which of them are asked about, all without
    it. The work is queued on the current stream of the tensor's device; this returns before it is done. ``node_limit`` is
    that of ``csrc/cuda/memcore_cuda.h``. Raises as ``max_cliques`` does.
    """
    import torch

    _check_bits(bits)
    if slots is not None and (slots.dtype != torch.int32 or slots.dim() != 1 or slots.device != bits.device):
        raise ArgumentTypeError(
            f"slots must be (G,) torch.int32 on {bits.device}, got {slots.dtype} {tuple(slots.shape)} on {slots.device}"
        )
    _check_device(bits)
    stream = torch.cuda.current_stream(bits.device).cuda_stream
    return launch_decision(_core, bits.contiguous(), bits.device.index, stream, min_size, node_limit, slots)


def launch_decision(
    library: Any,
    bits: torch.Tensor,
    device: int,
    stream: int,
    min_size: int,
    node_limit: int,
    slots: torch.Tensor | None = None,
) -> torch.Tensor:
    """Call ``library``, the core or a substitute for it, with the addresses of contiguous tensors."""
    graphs, n, _ = bits.shape
    if slots is not None:
        slots = slots.contiguous()
        graphs = len(slots)
    answers = bits.new_empty((graphs, 2))
    size = library.cuda_has_clique_workspace(n, graphs)
    if size < 0:
        raise DeviceError(f"the core has no CUDA part: no workspace for {graphs} graphs on {n} vertices")
    workspace = bits.new_empty((size // 4,))
    error = library.cuda_has_clique(
        device,
        stream,
        bits.data_ptr(),
        0 if slots is None else slots.data_ptr(),
        n,
        graphs,
        min_size,
        node_limit,
        answers.data_ptr(),
        workspace.data_ptr(),
    )
    if error:
        raise DeviceError(
            f"the clique kernel did not start on device {device}: {library.cuda_error(error)} ({error})"
        )
    return answers


def _check_bits(bits: torch.Tensor) -> None:
    import torch

    if bits.dtype != torch.int32:
        raise ArgumentTypeError(f"bits must be torch.int32, got {bits.dtype}")
    _, n, words = bits.shape
    if n > MAX_VERTICES or words != -(-n // WORD_BITS):
        raise ArgumentValueError(
            f"bits must be (G, n, ceil(n / 32)) with n <= {MAX_VERTICES}, got shape {tuple(bits.shape)}"
        )


def _check_device(bits: torch.Tensor) -> None:
    if not bits.is_cuda:
        raise DeviceError(f"bits must be on a CUDA device, got {bits.device}")
    usable, reason = available()
    if not usable:
        raise DeviceError(f"cliques on {bits.device} need the core's CUDA part: {reason}")


def to_host(members: torch.Tensor, bounds: torch.Tensor) -> list[Found]:
    """Return all graphs' answers with one transfer; waits for the device."""
    import torch

    words = members.shape[1]
    rows = torch.cat([members.long(), bounds], dim=1).cpu().tolist()
    return [read_found(row, words) for row in rows]


def read_found(row: list[int], words: int) -> Found:
    """Read one graph's answer from a row on the host: ``words`` of members, then the bounds; what follows is ignored."""
    return Found(_members(row[:words]), row[words], row[words + 1], bool(row[words + 2]), row[words + 3])


def find_cliques(bits: torch.Tensor, min_size: int, node_limit: int) -> list[Found] | None:
    """Return vertex-disjoint cliques of one graph (n, W), largest first, or None where the node limit left one unproven.

    Takes a launch and a transfer of a few bytes for each clique, and one more to see that none remains.
    """
    bits = bits[None].clone()
    cliques: list[Found] = []
    while True:
        members, bounds = max_cliques(bits, min_size=min_size, node_limit=node_limit)
        (found,) = to_host(members, bounds)
        if not found.proven:
            return None
        if not found.members:
            return cliques
        cliques.append(found)
        node_limit -= found.nodes
        bits &= ~members[:, None, :]
        bits[:, list(found.members)] = 0


def pack(adjacency: torch.Tensor) -> torch.Tensor:
    """Return matrices (..., n, n) of bool or uint8 as bits (..., n, W) int32, on the same device."""
    import torch

    n = adjacency.shape[-1]
    words = -(-n // WORD_BITS)
    padded = torch.nn.functional.pad((adjacency != 0).to(torch.int32), (0, words * WORD_BITS - n))
    weights = torch.arange(WORD_BITS, dtype=torch.int32, device=adjacency.device)
    grouped = padded.reshape(*adjacency.shape[:-1], words, WORD_BITS)
    return (grouped << weights).sum(-1, dtype=torch.int32)


def unpack(bits: torch.Tensor, n: int) -> torch.Tensor:
    """Return bits (..., W) int32 as (..., n) bool, on the same device."""
    import torch

    shifts = torch.arange(WORD_BITS, dtype=torch.int32, device=bits.device)
    return ((bits[..., None] >> shifts) & 1).flatten(-2)[..., :n].to(torch.bool)


def _members(words: list[int]) -> tuple[int, ...]:
    if not any(words):
        return ()
    return tuple(WORD_BITS * w + b for w, word in enumerate(words) for b in range(WORD_BITS) if word >> b & 1)
