"""Watch Triton kernels under the interpreter: addresses, races between programs, any order of the grid.

    with watched(seed=1):
        launcher(...)          # or kernel[grid](...)

raises inside the launch (wrapped in triton's InterpreterError) on
- ``OutOfBounds``: an access to a byte that is not an element of a tensor given to the kernel. A view owns its own
  elements only, so a read of the gap between two rows of a slice is caught, as is a misaligned access;
- ``Race``: in one launch, two programs touch a byte and at least one of them stores to it plainly
  (atomics may meet atomics), or two lanes of one store write the same byte;
and runs the programs in an order shuffled by ``seed``. ``with watched() as watch`` also counts the bytes that all launches
load and store, lanes that are masked left out (``watch.moved``). Each launch starts with an empty record: kernels on one
stream run one after another. Needs TRITON_INTERPRET=1 before triton is imported; it patches the interpreter's
builder, so it belongs in tests only.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
import triton.runtime.interpreter as interpreter

Kind = Literal["load", "store", "atomic"]
NOBODY, MANY = -1, -2


class OutOfBounds(Exception):
    """A kernel touched memory that it was not given."""


class Race(Exception):
    """The answer depends on the order of the programs."""


class _Memory:
    """One storage: the bytes that the kernel may touch, and the programs that touched each, by kind."""

    def __init__(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        self.start, self.nbytes = storage.data_ptr(), storage.nbytes()
        self.owned = torch.zeros(self.nbytes, dtype=torch.bool)
        self.seen = {kind: np.full(self.nbytes, NOBODY, np.int64) for kind in ("load", "store", "atomic")}

    def own(self, tensor: torch.Tensor) -> None:
        """Let the kernel touch the elements of ``tensor``."""
        size = tensor.element_size()
        strides = [s * size for s in tensor.stride()] + [1]
        self.owned.as_strided([*tensor.shape, size], strides, tensor.storage_offset() * size).fill_(True)


class Watch:
    """What the launches of a block touch. ``moved``: bytes by kind of access, each as often as a lane asks for it."""

    def __init__(self) -> None:
        self.memories: list[_Memory] = []
        self.moved: dict[Kind, int] = {"load": 0, "store": 0, "atomic": 0}

    def begin_launch(self, arguments: list[Any]) -> None:
        memories: dict[int, _Memory] = {}
        for argument in arguments:
            if isinstance(argument, interpreter.TensorDescriptor):
                # Its tensor's own elements, however far it claims to reach.
                argument = argument.base
            if isinstance(argument, torch.Tensor) and argument.numel():
                address = argument.untyped_storage().data_ptr()
                if address not in memories:
                    memories[address] = _Memory(argument)
                memories[address].own(argument)
        self.memories = sorted(memories.values(), key=lambda memory: memory.start)

    def access(self, pointers: Any, mask: Any, kind: Kind, grid_index: tuple[int, int, int]) -> None:
        addresses = pointers.data.astype(np.int64).ravel()
        if mask is not None:
            addresses = addresses[np.broadcast_to(mask.data, pointers.data.shape).ravel().astype(bool)]
        if not addresses.size:
            return
        size = max(1, pointers.get_element_ty().primitive_bitwidth // 8)
        if (addresses % size).any():
            raise OutOfBounds(f"misaligned {kind} of {size} bytes, program {grid_index}")
        self.moved[kind] += addresses.size * size
        program = grid_index[0] + (grid_index[1] << 31) + (grid_index[2] << 47)
        for memory, chosen in self._by_memory(addresses, kind, grid_index):
            bytes_touched = (chosen[:, None] + np.arange(size)).ravel() - memory.start
            inside = (bytes_touched >= 0) & (bytes_touched < memory.nbytes)
            if not inside.all() or not memory.owned.numpy()[bytes_touched].all():
                raise OutOfBounds(f"{kind} outside the tensors, program {grid_index}")
            _record(memory, bytes_touched, kind, program, grid_index)

    def _by_memory(
        self, addresses: np.ndarray, kind: Kind, grid_index: tuple[int, int, int]
    ) -> Iterator[tuple[_Memory, np.ndarray]]:
        starts = np.array([memory.start for memory in self.memories], np.int64)
        which = np.searchsorted(starts, addresses, "right") - 1
        if (which < 0).any():
            raise OutOfBounds(f"{kind} below all tensors, program {grid_index}")
        for index in np.unique(which):
            yield self.memories[index], addresses[which == index]


def _record(
    memory: _Memory, touched: np.ndarray, kind: Kind, program: int, grid_index: tuple[int, int, int]
) -> None:
    rivals: dict[Kind, tuple[Kind, ...]] = {
        "load": ("store", "atomic"),
        "store": ("load", "store", "atomic"),
        "atomic": ("load", "store"),
    }
    for rival in rivals[kind]:
        others = memory.seen[rival][touched]
        if ((others != NOBODY) & (others != program)).any():
            raise Race(f"{kind} of program {grid_index} meets another program's {rival}")
    if kind == "store" and np.unique(touched).size != touched.size:
        raise Race(f"two lanes of program {grid_index} store to one address")
    seen = memory.seen[kind]
    before = seen[touched]
    seen[touched] = np.where((before == NOBODY) | (before == program), program, MANY)


@contextlib.contextmanager
def watched(seed: int = 0) -> Iterator[Watch]:
    """Check every launch in the block, shuffle the order of its programs by ``seed``, and count the bytes that they move."""
    watch = Watch()
    builder = type(interpreter.interpreter_builder)
    executor = interpreter.GridExecutor

    def everywhere(pointers: Any) -> Any:
        return interpreter.TensorHandle(np.ones_like(pointers.data, dtype=bool), interpreter.tl.int1)

    original = {
        name: getattr(builder, name)
        for name in (
            "create_load",
            "create_store",
            "create_masked_load",
            "create_masked_store",
            "create_atomic_rmw",
            "create_atomic_cas",
            "set_grid_idx",
        )
    }
    original_arguments = executor._init_args_hst

    def masked_load(self: Any, pointers: Any, mask: Any, *rest: Any, **named: Any) -> Any:
        watch.access(pointers, mask, "load", self.grid_idx)
        return original["create_masked_load"](self, pointers, mask, *rest, **named)

    def masked_store(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        watch.access(pointers, mask, "store", self.grid_idx)
        return original["create_masked_store"](self, pointers, value, mask, *rest)

    def load(self: Any, pointers: Any, *rest: Any) -> Any:
        return masked_load(self, pointers, everywhere(pointers), None, *rest)

    def store(self: Any, pointers: Any, value: Any, *rest: Any) -> Any:
        return masked_store(self, pointers, value, everywhere(pointers), *rest)

    def atomic_rmw(self: Any, operation: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        watch.access(pointers, mask, "atomic", self.grid_idx)
        return original["create_atomic_rmw"](self, operation, pointers, value, mask, *rest)

    def atomic_cas(self: Any, pointers: Any, *rest: Any) -> Any:
        watch.access(pointers, None, "atomic", self.grid_idx)
        return original["create_atomic_cas"](self, pointers, *rest)

    orders: dict[tuple[int, ...], dict[tuple[int, ...], tuple[int, ...]]] = {}

    def set_grid_idx(self: Any, x: int, y: int, z: int) -> None:
        size = tuple(self.grid_dim)
        if size not in orders:
            indices = list(np.ndindex(size))
            shuffled = indices[:]
            random.Random(seed).shuffle(shuffled)
            orders[size] = dict(zip(indices, shuffled, strict=True))
        original["set_grid_idx"](self, *orders[size][x, y, z])

    def init_arguments(self: Any, positional: Any, named: Any) -> Any:
        positional, named = original_arguments(self, positional, named)
        watch.begin_launch([*positional, *named.values()])
        return positional, named

    replacements = {
        "create_load": load,
        "create_store": store,
        "create_masked_load": masked_load,
        "create_masked_store": masked_store,
        "create_atomic_rmw": atomic_rmw,
        "create_atomic_cas": atomic_cas,
        "set_grid_idx": set_grid_idx,
    }
    try:
        for name, function in replacements.items():
            setattr(builder, name, function)
        executor._init_args_hst = init_arguments
        yield watch
    finally:
        for name, function in original.items():
            setattr(builder, name, function)
        executor._init_args_hst = original_arguments
