// NumPy arrays as the views that the core works on. Shapes and strides are checked again here: the Python
// layer has readable messages, but nothing that it might let through may read outside an array.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>

#include "arguments/call.hpp"
#include "arguments/images.hpp"

namespace memcore::bind {

namespace py = pybind11;

using arguments::check_threads;
using arguments::ImageSet;
using arguments::make_grid;
using arguments::make_shape;
using arguments::resolve_isa;

// (B, N, H, W, C), or (N, H, W, C) as one batch, of elements of `element_bytes`; raises ValueError("strides
// ...") unless tiles can be read in place.
ImageSet view_images(const py::array& array, std::size_t element_bytes);

// Raises unless `out` is a writable C-contiguous (batches, rows, columns) array of elements of
// `element_bytes`.
void check_out(const py::array& out, std::size_t batches, std::size_t rows, std::size_t columns,
               std::size_t element_bytes);

}  // namespace memcore::bind
