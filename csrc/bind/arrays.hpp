// NumPy arrays as the views that the core works on. Shapes and strides are checked again here: the Python
// layer has readable messages, but nothing that it might let through may read outside an array.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>

#include "runtime/dispatch.hpp"
#include "tiled_l2/images.hpp"

namespace memcore::bind {

namespace py = pybind11;

// The calling thread's table; raises ValueError where MEMCORE_ISA names something that cannot run.
const Isa& resolve_isa();

struct ImageSet {
    tiled_l2::Images images;
    std::size_t width = 0, channels = 0;
    bool planar = false;  // channels first in memory
};

// (B, N, H, W, C), or (N, H, W, C) as one batch, of elements of `element_bytes`; raises ValueError("strides
// ...") unless tiles can be read in place.
ImageSet view_images(const py::array& array, std::size_t element_bytes);

// Raises unless the grid divides the images and both sets lie alike.
tiled_l2::Grid make_grid(const ImageSet& a, const ImageSet* other, long tile_height, long tile_width,
                         std::size_t element_bytes);

// Raises unless `out` is a writable C-contiguous (batches, rows, columns) array of elements of
// `element_bytes`.
void check_out(const py::array& out, std::size_t batches, std::size_t rows, std::size_t columns,
               std::size_t element_bytes);

int check_threads(long threads);

}  // namespace memcore::bind
