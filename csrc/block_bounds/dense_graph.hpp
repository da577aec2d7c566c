// The thresholded graph by computing every pair: the plain answer, and the fall-back where bounds decide too little.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tiled_l2/contract.hpp"
#include "tiled_l2/images.hpp"

namespace memcore::block_bounds {

struct Edge {
    std::int32_t i, j;  // i < j
    std::uint64_t ssd;  // of the largest tile
    bool operator<(const Edge& other) const { return i != other.i ? i < other.i : j < other.j; }
};

// All pairs of images of batch 0 whose largest tile's ssd is at most ssd_max, sorted.
std::vector<Edge> dense_graph(const tiled_l2::Kernels& kernels, const tiled_l2::Images& images,
                              const tiled_l2::Grid& grid, std::uint64_t ssd_max, int threads);

}  // namespace memcore::block_bounds
