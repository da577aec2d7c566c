// The thresholded graph by computing every pair: the plain answer, and the fall-back where bounds decide too
// little.
#pragma once

#include <cstdint>
#include <vector>

#include "graph/edges.hpp"
#include "panels/contract.hpp"
#include "panels/images.hpp"

namespace memcore::graph {

// Returns all pairs i < j, j >= since, of images of batch 0 whose largest tile's ssd is at most ssd_max,
// sorted.
std::vector<Edge> dense_graph(const panels::Kernels& kernels, const panels::Images& images,
                              const panels::Grid& grid, std::uint64_t ssd_max, std::size_t since,
                              int threads);

}  // namespace memcore::graph
