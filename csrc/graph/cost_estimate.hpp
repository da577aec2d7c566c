// Whether bounds take less time than all pairs at once, estimated from a sample of the images.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "graph/graph.hpp"
#include "graph/kernel_tables.hpp"
#include "graph/pyramid.hpp"
#include "panels/images.hpp"

namespace memcore::graph {

// Returns the sample of `count` images: evenly spread, since copies and scenes often come in runs.
std::vector<std::uint32_t> sample_indices(std::size_t count);

// Returns whether to take the features of the sample before those of all images: not where images are so
// large or so many that features cost almost nothing.
bool sampling_profitable(KernelTables kernels, const Shape& shape, std::size_t images);

// Returns whether bounds, and verifying the pairs that they leave, are likely to take less time than all
// pairs at once, from the features of the images at sample_indices. `untaken` is the number of other images
// whose features are still to be taken, which counts as well. Without `images`, which may be in slow memory,
// the verification is assumed to cost least. The answer depends only on the images and the instruction set.
bool bounds_profitable(KernelTables kernels, const panels::Images* images, const Pyramid& features,
                       std::size_t untaken, const Shape& shape, const Request& request);

}  // namespace memcore::graph
