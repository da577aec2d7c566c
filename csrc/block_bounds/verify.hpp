// Decides candidate pairs in integers, in whichever way costs least.
#pragma once

#include <cstdint>
#include <vector>

#include "block_bounds/edges.hpp"
#include "block_bounds/graph.hpp"
#include "block_bounds/pyramid.hpp"
#include "runtime/isa.hpp"
#include "tiled_l2/images.hpp"

namespace memcore::block_bounds {

// The pairs that are edges, sorted, with the ssd of their largest tile; all of them have j >= since. `shape`
// is how `images` lie; the pyramid may have been taken from another layout of them.
std::vector<Edge> verify(const Isa& isa, const tiled_l2::Images& images, const Shape& shape,
                         const Pyramid& pyramid, const std::vector<Pair>& pairs, std::uint64_t ssd_max,
                         std::size_t since, int threads, Stats& stats);

}  // namespace memcore::block_bounds
