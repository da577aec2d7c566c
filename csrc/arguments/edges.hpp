// Graphs as callers give them: a number of vertices and pairs.
#pragma once

#include <cstdint>

#include "clique/max_clique.hpp"

namespace memcore::arguments {

int check_n(std::int64_t n);
int check_min_size(std::int64_t min_size, int least = 0);
void check_node_limit(std::int64_t node_limit);

// Throws unless 0 <= i < j < n for each edge; counts rows from `first_row` in the message.
void check_edges(const clique::EdgeList& list, std::int64_t first_row = 0);

}  // namespace memcore::arguments
