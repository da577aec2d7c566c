// The thresholded graph by computing every pair: the plain answer, and the fall-back where bounds decide too
// little.
#pragma once

#include <cstdint>
#include <vector>

#include "block_bounds/edges.hpp"
#include "tiled_l2/contract.hpp"
#include "tiled_l2/images.hpp"

namespace memcore::block_bounds {

// All pairs i < j, j >= since, of images of batch 0 whose largest tile's ssd is at most ssd_max, sorted.
std::vector<Edge> dense_graph(const tiled_l2::Kernels& kernels, const tiled_l2::Images& images,
                              const tiled_l2::Grid& grid, std::uint64_t ssd_max, std::size_t since,
                              int threads);

}  // namespace memcore::block_bounds
