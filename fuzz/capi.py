"""The C interface through ctypes: sequences of calls with right and wrong arguments give codes, and right answers.

Memory that a call is told of ends where the next page may not be touched, so that each byte read or written beyond it ends
the process. What a call writes is compared with the oracle; after an error it must be as it was.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fuzz.draw import Draw
from fuzz.target import Wrong
from memcore.backends import reference
from tests.support import c_abi
from tests.support.c_abi import LIBRARY

_INTERNAL = c_abi.STATUSES.index("INTERNAL")
_MEMORY = c_abi.STATUSES.index("MEMORY")
#: Numbers in the place of others: at the borders of what 32 and 64 bits hold.
_HUGE = (2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
_NODES = 2000
_FILL = 7


class Guarded:
    """``size`` bytes whose end is the end of a page, and the page behind may not be touched."""

    def __init__(self, size: int) -> None:
        pages = -(-max(size, 1) // mmap.PAGESIZE)
        self._map = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
        whole: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)
        address = whole.ctypes.data
        libc = ctypes.CDLL(None, use_errno=True)
        behind = ctypes.c_void_p(address + pages * mmap.PAGESIZE)
        if libc.mprotect(behind, ctypes.c_size_t(mmap.PAGESIZE), 0):
            raise OSError(ctypes.get_errno(), "mprotect")
        self.bytes = whole[pages * mmap.PAGESIZE - size : pages * mmap.PAGESIZE]
        self.address = address + pages * mmap.PAGESIZE - size

    def view(self, dtype: Any) -> NDArray[Any]:
        return self.bytes.view(dtype)


def number(draw: Draw, low: int, high: int) -> int:
    """Return a number that fits, and now and then one that does not."""
    return draw.choose(_HUGE) if draw.chance(3) else draw.number(low, high)


def signed(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63


class Session:
    """What lives from call to call: graphs, growing features, cliques and a flag, each NULL before it is made."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.graphs = [ctypes.c_void_p() for _ in range(2)]
        self.features = ctypes.c_void_p()
        self.grown: list[NDArray[np.uint8]] = []
        self.cliques = ctypes.c_void_p()
        self.cancel = ctypes.c_void_p()
        self.is_set = False
        self.codes: set[str] = set()

    def close(self) -> None:
        LIBRARY.memcore_cancel_use(None)
        for graph in self.graphs:
            LIBRARY.memcore_graph_free(graph)
        LIBRARY.memcore_features_free(self.features)
        LIBRARY.memcore_cliques_free(self.cliques)
        LIBRARY.memcore_cancel_free(self.cancel)
        LIBRARY.memcore_isa_select(None)

    def told(self, status: int, *, null: ctypes.c_void_p | None = None) -> bool:
        """Check a status; return whether the call was done. ``null`` must be NULL after an error, and nothing else."""
        if not 0 <= status < len(c_abi.STATUSES) or status in (_INTERNAL,):
            raise Wrong(f"status {status}: {LIBRARY.memcore_last_error()!r}")
        if status and not LIBRARY.memcore_last_error():
            raise Wrong(f"status {c_abi.STATUSES[status]} without a text")
        if null is not None and (null.value is None) != (status != 0):
            raise Wrong(f"status {c_abi.STATUSES[status]} with the pointer {null.value}")
        if c_abi.STATUSES[status] == "CANCELLED" and not self.is_set:
            raise Wrong("cancelled, and nobody has set the flag")
        self.codes.add(c_abi.STATUSES[status])
        return status == 0

    # --- images

    def images(self, least: int = 1) -> tuple[c_abi.Images, NDArray[np.uint8] | None, Guarded]:
        """Return a description, the pixels (N, H, W, C) if it is right, and the memory, which must outlive the call."""
        draw = self.draw
        shape = (draw.number(least, 6), 2 * draw.number(1, 3), 2 * draw.number(1, 4), draw.number(1, 4))
        pixels = draw.pixels(shape)
        planar = draw.chance(30)
        laid = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)) if planar else pixels
        offset, gap = draw.number(0, 5), draw.number(0, 4)
        image = laid[0].size + gap
        memory = Guarded(offset + image * (shape[0] - 1) + laid[0].size)
        for i, one in enumerate(laid):
            memory.bytes[offset + i * image : offset + i * image + one.size] = one.reshape(-1)
        _, h, w, c = shape
        strides = (image, w, 1, h * w) if planar else (image, w * c, c, 1)
        described = c_abi.Images(
            ctypes.sizeof(c_abi.Images), memory.address, memory.bytes.size, offset, *shape, *strides
        )
        right = not draw.chance(20)
        if not right:
            names = [field[0] for field in c_abi.Images._fields_]
            name = draw.choose(names)
            value = 0 if name == "data" else number(draw, 0, 9)
            value = signed(-value if draw.chance(30) else value) if name.endswith("stride") else value % 2**64
            if name == "data_bytes":  # less than there is, and never more
                value %= memory.bytes.size + 1
            setattr(described, name, value)
        return described, pixels if right else None, memory

    def distances(self) -> None:
        draw = self.draw
        a, x, held = self.images()
        b, y, also = self.images() if draw.chance(40) else (None, x, held)
        th, tw = number(draw, 1, 2), number(draw, 1, 2)
        wide = draw.chance(50)
        dtype: Any = np.uint64 if wide else np.uint32
        capacity = draw.number(0, 40)
        out = Guarded(capacity * np.dtype(dtype).itemsize)
        out.bytes[:] = _FILL
        call = LIBRARY.memcore_tiled_l2_ssd if wide else LIBRARY.memcore_tiled_l2_ssd32
        null_out = draw.chance(3)
        status = call(
            _pointer(a), _pointer(b), th, tw, None if null_out else out.address, capacity, draw.number(0, 3)
        )
        del also
        if not self.told(status):
            if (out.bytes != _FILL).any():
                raise Wrong("an error, and something was written")
            return
        if x is None or y is None:
            return
        wanted = reference.tiled_l2_ssd(x[None], None if b is None else y[None], (th, tw))[0]
        found = out.view(dtype)[: wanted.size].reshape(wanted.shape)
        if not np.array_equal(found, wanted):
            raise Wrong(f"ssd {found.tolist()}, not {wanted.tolist()}")
        if (out.bytes[wanted.size * found.itemsize :] != _FILL).any():
            raise Wrong("more was written than the answer has")

    def graph(self) -> None:
        draw = self.draw
        a, x, held = self.images()
        th, tw, limit, least = 2, number(draw, 1, 2), number(draw, 0, 600_000), number(draw, 0, 4)
        at = draw.number(0, 1)
        edges_alone = draw.chance(50)
        made = ctypes.c_void_p(1)
        call = LIBRARY.memcore_tiled_l2_edges if edges_alone else LIBRARY.memcore_tiled_l2_graph
        status = call(_pointer(a), th, tw, limit, least, draw.number(0, 3), ctypes.byref(made))
        del held
        if self.told(status, null=made):
            if x is not None and least <= 2 and not edges_alone:
                found, ssd = c_abi.take_edges(made)
                wanted, sums = reference.tiled_l2_graph(x, (th, tw), limit)
                if not np.array_equal(found, wanted) or not np.array_equal(ssd, sums):
                    raise Wrong(f"edges {found.tolist()}, not {wanted.tolist()}")
            LIBRARY.memcore_graph_free(self.graphs[at])
            self.graphs[at] = made

    def merge(self) -> None:
        merged = ctypes.c_void_p(1)
        if self.told(LIBRARY.memcore_graph_merge(*self.graphs, ctypes.byref(merged)), null=merged):
            counts = [LIBRARY.memcore_graph_edge_count(graph) for graph in (*self.graphs, merged)]
            LIBRARY.memcore_graph_free(merged)
            if counts[0] + counts[1] != counts[2]:
                raise Wrong(f"a graph of {counts[2]} edges is made of {counts[:2]}")

    def new_features(self) -> None:
        made = ctypes.c_void_p(1)
        tile = number(self.draw, 1, 2), number(self.draw, 1, 2)
        if self.told(LIBRARY.memcore_features_new(*tile, ctypes.byref(made)), null=made):
            LIBRARY.memcore_features_free(self.features)
            self.features, self.grown = made, []

    def append(self) -> None:
        draw = self.draw
        a, x, held = self.images()
        copies = Guarded(draw.number(0, 2000))
        copies.bytes[:] = _FILL
        given = copies.address if draw.chance(40) else None
        before = LIBRARY.memcore_features_count(self.features)
        status = LIBRARY.memcore_features_append(
            self.features, _pointer(a), given, copies.bytes.size, draw.number(0, 2)
        )
        done = self.told(status)
        del held
        if LIBRARY.memcore_features_count(self.features) != before + (a.count if done else 0):
            raise Wrong("the features count other images than were appended")
        if not done and status != c_abi.STATUSES.index("CANCELLED") and (copies.bytes != _FILL).any():
            raise Wrong("an error, and something was written")
        if done and x is not None and given and not np.array_equal(copies.bytes[: x.size], x.reshape(-1)):
            raise Wrong("the copies are not the images")

    def features_graph(self) -> None:
        draw = self.draw
        a, _, held = self.images()
        made = ctypes.c_void_p(1)
        numbers = number(draw, 0, 600_000), number(draw, 0, 3), number(draw, 0, 3)
        status = LIBRARY.memcore_features_graph(
            self.features, _pointer(a), *numbers, draw.number(0, 2), ctypes.byref(made)
        )
        del held
        if self.told(status, null=made):
            LIBRARY.memcore_graph_free(self.graphs[0])
            self.graphs[0] = made

    # --- rows, cliques, and what has no images

    def knn(self) -> None:
        draw = self.draw
        width = draw.number(1, 20)
        given = [draw.pixels((draw.number(1, 6), width)) for _ in range(2)]
        memory = [Guarded(rows.size) for rows in given]
        described = []
        for rows, held in zip(given, memory, strict=True):
            held.bytes[:] = rows.reshape(-1)
            described.append(
                c_abi.Rows(ctypes.sizeof(c_abi.Rows), held.address, rows.size, 0, *rows.shape, width)
            )
        right = not draw.chance(20)
        if not right:
            name = draw.choose(["struct_size", "offset", "count", "dimension", "stride", "data"])
            value = 0 if name == "data" else number(draw, 0, 9)
            setattr(draw.choose(described), name, signed(value) if name == "stride" else value)
        k, capacity = number(draw, 1, 6), draw.number(0, 40)
        ssd, indices = Guarded(8 * capacity), Guarded(8 * capacity)
        ssd.bytes[:] = indices.bytes[:] = _FILL
        status = LIBRARY.memcore_knn(
            *map(_pointer, described), k, ssd.address, indices.address, capacity, draw.number(0, 2)
        )
        if not self.told(status):
            if (ssd.bytes != _FILL).any() or (indices.bytes != _FILL).any():
                raise Wrong("an error, and something was written")
        elif right:
            wanted, places = reference.knn(given[0], given[1], k)
            size = wanted.size
            if not np.array_equal(ssd.view(np.uint64)[:size], wanted.reshape(-1)):
                raise Wrong("ssd of neighbours")
            if not np.array_equal(indices.view(np.int64)[:size], places.reshape(-1)):
                raise Wrong("neighbours")

    def find_cliques(self) -> None:
        draw = self.draw
        n = number(draw, 0, 9)
        pairs = np.array(
            [sorted((draw.number(0, 9), draw.number(0, 9))) for _ in range(draw.number(0, 14))], np.int32
        )
        edges = Guarded(pairs.nbytes)
        edges.bytes[:] = pairs.reshape(-1).view(np.uint8)
        made = ctypes.c_void_p(1)
        least = signed(number(draw, 2, 5))
        address = edges.address if len(pairs) else None
        call: Any = LIBRARY.memcore_find_cliques
        middle: tuple[int, ...] = (least,)
        if draw.chance(50):
            call, middle = LIBRARY.memcore_max_clique, ()
        status = call(
            signed(n), address, len(pairs), *middle, signed(number(draw, 1, _NODES)), ctypes.byref(made)
        )
        if self.told(status, null=made):
            LIBRARY.memcore_cliques_free(self.cliques)
            self.cliques = made
            joined = {(int(i), int(j)) for i, j in pairs}
            for members, *_ in self._members():
                pairs_of = [(i, j) for i in members for j in members if i < j]
                if not set(pairs_of) <= joined or any(not 0 <= m < n for m in members):
                    raise Wrong(f"{members} is no clique of {sorted(joined)}")

    def many_cliques(self) -> None:
        draw = self.draw
        graphs = draw.number(0, 4)
        sizes, offsets = Guarded(4 * graphs), Guarded(8 * (graphs + 1))
        sizes.view(np.int32)[:] = [draw.number(0, 5) for _ in range(graphs)]
        ends = np.cumsum([0, *(draw.number(0, 2) for _ in range(graphs))])
        if graphs and draw.chance(20):
            ends[draw.number(0, graphs)] = signed(number(draw, 0, 9))
        offsets.view(np.int64)[:] = ends
        count = int(ends[-1]) if 0 <= ends[-1] < 20 else 3
        edges = Guarded(8 * count)
        edges.view(np.int32)[:] = [draw.number(0, 5) for _ in range(2 * count)]
        made = ctypes.c_void_p(1)
        status = LIBRARY.memcore_max_cliques(
            graphs, sizes.address, offsets.address, edges.address, count, signed(number(draw, 0, 4)), _NODES,
            draw.number(0, 2), ctypes.byref(made),
        )  # fmt: skip
        if self.told(status, null=made):
            LIBRARY.memcore_cliques_free(self.cliques)
            self.cliques = made
            if len(self._members()) != graphs:
                raise Wrong("not a clique for each graph")

    def _members(self) -> list[tuple[list[int], int, int]]:
        found = []
        for k in range(LIBRARY.memcore_cliques_count(self.cliques)):
            clique = c_abi.Clique(ctypes.sizeof(c_abi.Clique))
            if LIBRARY.memcore_cliques_get(self.cliques, k, ctypes.byref(clique)):
                raise Wrong(f"clique {k} cannot be had")
            if not clique.lower <= clique.upper:
                raise Wrong(f"bounds {clique.lower} and {clique.upper}")
            found.append((list(clique.members[: clique.size]), clique.lower, clique.upper))
        return found

    def get(self) -> None:
        clique = c_abi.Clique(self.draw.choose([ctypes.sizeof(c_abi.Clique), 0, 8, 2**64 - 1]))
        self.told(LIBRARY.memcore_cliques_get(self.cliques, number(self.draw, 0, 3), ctypes.byref(clique)))

    def flag(self) -> None:
        kind = self.draw.number(0, 4)
        if kind == 0 and not self.cancel:
            self.told(LIBRARY.memcore_cancel_new(ctypes.byref(self.cancel)), null=self.cancel)
        elif kind == 1:
            self.told(LIBRARY.memcore_cancel_use(self.cancel))
        elif kind == 2:
            self.is_set = bool(self.cancel) and self.draw.chance(50)
            LIBRARY.memcore_cancel_set(self.cancel, int(self.is_set))
            if bool(LIBRARY.memcore_cancel_is_set(self.cancel)) != self.is_set:
                raise Wrong("the flag is not what it was set to")
        elif kind == 3:
            LIBRARY.memcore_cancel_free(self.cancel)
            self.cancel, self.is_set = ctypes.c_void_p(), False
        else:
            self.told(LIBRARY.memcore_cancel_new(None))

    def isa(self) -> None:
        names = [LIBRARY.memcore_isa_name(k) for k in range(LIBRARY.memcore_isa_count() + 1)]
        self.told(LIBRARY.memcore_isa_select(self.draw.choose([*names, b"sse9", b"", b"\xff" * 3000])))
        active = ctypes.c_char_p()
        self.told(LIBRARY.memcore_isa_active(ctypes.byref(active)))

    def small(self) -> None:
        """Call what only computes, and what takes NULL."""
        draw = self.draw
        answer = ctypes.c_uint64()
        threshold = draw.choose([draw.fraction(), 0.0, 1.0, -1.0, float("nan"), float("inf"), 1e-320])
        k = number(draw, 0, 5000)
        done = self.told(LIBRARY.memcore_ssd_max(threshold, k, ctypes.byref(answer)))
        if done and answer.value > k * 65025:
            raise Wrong(f"ssd_max {answer.value} of {k} bytes")
        LIBRARY.memcore_distance(number(draw, 0, 5000), k)
        LIBRARY.memcore_status_name(signed(number(draw, 0, 12)) % 2**31)
        sizes = [number(draw, 0, 9) for _ in range(4)]
        described = c_abi.Images()
        self.told(LIBRARY.memcore_images_init(ctypes.byref(described), 4096, *sizes, draw.number(0, 3)))
        for free in ("graph", "features", "cliques", "cancel"):
            getattr(LIBRARY, f"memcore_{free}_free")(None)


def _pointer(structure: Any) -> Any:
    return None if structure is None else ctypes.byref(structure)


CALLS: tuple[Callable[[Session], None], ...] = (
    *(
        Session.distances,
        Session.graph,
        Session.merge,
        Session.new_features,
        Session.append,
        Session.features_graph,
    ),
    *(
        Session.knn,
        Session.find_cliques,
        Session.many_cliques,
        Session.get,
        Session.flag,
        Session.isa,
        Session.small,
    ),
)


class CApi:
    """Up to a dozen calls, one after the other, on what the calls before have made."""

    def __init__(self, folder: Path) -> None:
        """Nothing is written to the folder."""

    def make(self, rng: np.random.Generator) -> bytes:
        return rng.bytes(int(rng.integers(40, 400)))

    def check(self, data: bytes) -> str:
        draw = Draw(data)
        session = Session(draw)
        try:
            for _ in range(draw.number(1, 12)):
                draw.choose(CALLS)(session)
        finally:
            session.close()
        errors = session.codes - {"OK"}
        return "all done" if not errors else "errors" if errors == session.codes else "some errors"
