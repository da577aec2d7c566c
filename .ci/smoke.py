"""Runs against an installed wheel with NumPy alone; each check names the defect that it would catch."""

import ctypes
import importlib
import importlib.util
import pathlib
import sys

import numpy as np

import memcore

heavy = [m for m in ("torch", "triton", "diffusers", "pyarrow", "PIL") if m in sys.modules]
assert not heavy, f"import memcore pulled in {heavy}"

rng = np.random.default_rng(0)
images = rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
images[5:17] = images[4]
images[5:17, 0, 0, 0] ^= 1
for name in memcore.isa.available():  # a wheel that was built for the building machine alone dies here
    with memcore.isa.using(name):
        ours = memcore.pairwise_tiled_l2(images, output="ssd")
        oracle = memcore.pairwise_tiled_l2(images, output="ssd", backend="reference")
        assert np.array_equal(ours, oracle), f"{name} differs from the oracle"

graph = memcore.tiled_l2_graph(images)  # a missing instruction-set unit or binding
assert memcore.find_cliques(graph)[0].members == tuple(range(4, 17))
assert memcore.knn(images[:1], images, 1).indices[0, 0] == 0
library = ctypes.CDLL(
    memcore.get_library()
)  # a library that the wheel left out, or that needs more than the wheel has
library.memcore_version.restype = ctypes.c_char_p
assert library.memcore_version().decode() == memcore.__version__
assert library.memcore_isa_count() == len(memcore.isa.available())
header = pathlib.Path(memcore.get_include()) / "memcore.h"
assert f'MEMCORE_VERSION "{memcore.__version__}"' in header.read_text()
for name in ("pkgconfig/memcore.pc", "cmake/memcore/memcoreConfig.cmake"):
    assert (pathlib.Path(memcore.get_library()).parent / name).is_file(), name

if importlib.util.find_spec("pyarrow") is None:  # an optional part must name the command that installs it
    try:
        importlib.import_module("memcore.runs.folder")
    except memcore.errors.MissingExtraError as error:
        said = str(error)
    else:
        said = ""
    assert "memcore-audit[audit]" in said, said
print("smoke: ok", memcore.__version__, memcore.isa.available())
