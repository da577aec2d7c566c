// Searches in graphs of any size: vertex by vertex, until what is left fits bit rows.
#pragma once

#include <vector>

#include "clique/budget.hpp"
#include "clique/dense_search.hpp"
#include "clique/sparse_graph.hpp"

namespace memcore::clique {

// The canonical maximum clique of a graph, in its own numbers (not names), if it has at least min_size >= 1
// vertices; else the empty clique with upper = min_size - 1.
Clique canonical_maximum(const SparseGraph& graph, int min_size, Budget& budget);

}  // namespace memcore::clique
