// The graph that a caller of the C ABI owns.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "graph/edges.hpp"
#include "include/memcore.h"

struct memcore_graph {
    std::vector<std::int32_t> edges;
    std::vector<std::uint64_t> ssd;  // of each edge, or of none
};

namespace memcore::capi {

std::unique_ptr<memcore_graph> make_graph(const std::vector<graph::Edge>& edges, bool sums = true);

// Throws where the number cannot be that of a clique's members.
void check_min_clique(std::size_t min_clique);

}  // namespace memcore::capi
