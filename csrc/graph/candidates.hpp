// The pairs that the bounds leave.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "graph/edges.hpp"
#include "graph/pyramid.hpp"

namespace memcore::graph {

// Returns the pairs i < j, j >= since, for which no level of the pyramid proves an ssd above ssd_max; sorted.
// With `skip_idle` a level is skipped for those pairs of an image of which it rejects none in a sample.
std::vector<Pair> candidates(const Kernels& kernels, const Pyramid& pyramid, std::uint64_t ssd_max,
                             std::size_t since, int threads, bool skip_idle);

// The pairs that are left of all pairs of a few images, and how many each level evaluated.
struct Survivors {
    std::vector<Pair> pairs;
    std::vector<std::size_t> evaluated;
};
Survivors screen_all(const Kernels& kernels, const Pyramid& pyramid, std::uint64_t ssd_max);

}  // namespace memcore::graph
