// Decides candidate pairs in integers, in whichever way costs least.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "graph/edges.hpp"
#include "graph/graph.hpp"
#include "graph/kernel_tables.hpp"
#include "graph/pyramid.hpp"
#include "panels/images.hpp"

namespace memcore::graph {

// The pairs that are edges, sorted, with the ssd of their largest tile if the request asks for it; all of
// them have j >= since. `shape` is the layout of `images`; the pyramid may have been computed from another
// layout of them.
std::vector<Edge> verify(KernelTables kernels, const panels::Images& images, const Shape& shape,
                         const Pyramid& pyramid, const std::vector<Pair>& pairs, const Request& request,
                         Stats& stats);

// Returns the share of a component's pairs that its first pivot is likely to decide.
double try_pivot(KernelTables kernels, const panels::Images& images, const Shape& shape,
                 const Pyramid& pyramid, const std::vector<Pair>& pairs, std::uint64_t ssd_max);

// Compares the tile that is most likely to prove a pair no edge, for `count` of the pairs or a few more,
// evenly spread. Returns how many of them are left, and how many they are.
std::pair<std::size_t, std::size_t> try_some(KernelTables kernels, const panels::Images& images,
                                             const Shape& shape, const Pyramid& pyramid,
                                             const std::vector<Pair>& pairs, std::size_t count,
                                             std::uint64_t ssd_max);

}  // namespace memcore::graph
