// Checks of graphs as callers describe them: a number of vertices, and pairs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "clique/max_clique.hpp"

namespace memcore::arguments {

int check_n(std::int64_t n);
int check_min_size(std::int64_t min_size, int least = 0);
void check_node_limit(std::int64_t node_limit);

// Throws unless 0 <= i < j < n for each edge; counts rows from `first_row` in the message.
void check_edges(const clique::EdgeList& list, std::int64_t first_row = 0);

// Many graphs in one array: graph g has sizes[g] vertices and the edges [offsets[g], offsets[g + 1]).
std::vector<clique::EdgeList> make_graphs(const std::int32_t* sizes, const std::int64_t* offsets,
                                          std::size_t count, const std::int32_t* edges,
                                          std::int64_t edge_count);

}  // namespace memcore::arguments
