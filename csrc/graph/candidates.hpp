// Which pairs the bounds cannot sort out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "graph/edges.hpp"
#include "graph/pyramid.hpp"

namespace memcore::graph {

// Pairs i < j, j >= since, that no level of the pyramid proves to be farther apart than ssd_max; sorted. With
// `skip_idle` a level is passed over for those pairs of an image of which a sample is left whole.
std::vector<Pair> candidates(const Kernels& kernels, const Pyramid& pyramid, std::uint64_t ssd_max,
                             std::size_t since, int threads, bool skip_idle);

// The same for all pairs of a few images, with how many pairs each level was asked for.
struct Survivors {
    std::vector<Pair> pairs;
    std::vector<std::size_t> evaluated;
};
Survivors screen_all(const Kernels& kernels, const Pyramid& pyramid, std::uint64_t ssd_max);

}  // namespace memcore::graph
