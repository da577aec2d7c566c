// Whether bounds will pay, from a few of the images.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "graph/graph.hpp"
#include "graph/kernel_tables.hpp"
#include "graph/pyramid.hpp"
#include "panels/images.hpp"

namespace memcore::graph {

// The images that tell of all `count`: some, evenly spread, since copies and scenes often come in runs.
std::vector<std::uint32_t> sample_indices(std::size_t count);

// Whether it is worth to look at the features of those before taking all: not where images are so large or so
// many that features cost next to nothing.
bool sampling_profitable(KernelTables kernels, const Shape& shape, std::size_t images);

// Whether bounds and what they leave are likely to take less time than all pairs at once, from the features
// of the images at sample_indices; `untaken` is how many of the others are still to be looked at, whose time
// counts too. Without `images`, which may be far away, nothing is known of what pairs that are left cost, and
// the least is assumed. It depends on images and instruction set alone.
bool bounds_profitable(KernelTables kernels, const panels::Images* images, const Pyramid& features,
                       std::size_t untaken, const Shape& shape, const Request& request);

}  // namespace memcore::graph
