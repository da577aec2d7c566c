#include "arguments/edges.hpp"

#include <algorithm>
#include <limits>
#include <string>

#include "runtime/argument_error.hpp"

namespace memcore::arguments {

int check_n(std::int64_t n) {
    if (n < 0 || n > std::numeric_limits<std::int32_t>::max() - 1)
        throw ArgumentError("n must be in [0, 2^31 - 2], got " + std::to_string(n));
    return static_cast<int>(n);
}

int check_min_size(std::int64_t min_size, int least) {
    if (min_size < least || min_size > std::numeric_limits<std::int32_t>::max()) {
        throw ArgumentError("min_size must be in [" + std::to_string(least) + ", 2^31 - 1], got " +
                            std::to_string(min_size));
    }
    return static_cast<int>(min_size);
}

void check_node_limit(std::int64_t node_limit) {
    if (node_limit < 0)
        throw ArgumentError("node_limit must be at least 0, got " + std::to_string(node_limit));
}

void check_edges(const clique::EdgeList& list, std::int64_t first_row) {
    const std::int64_t bad = clique::first_bad_edge(list);
    if (bad < 0) return;
    throw ArgumentError("edges must hold 0 <= i < j < n; row " + std::to_string(first_row + bad) + " is (" +
                        std::to_string(list.edges[2 * bad]) + ", " + std::to_string(list.edges[2 * bad + 1]) +
                        ") and n is " + std::to_string(list.n));
}

std::vector<clique::EdgeList> make_graphs(const std::int32_t* sizes, const std::int64_t* offsets,
                                          std::size_t count, const std::int32_t* edges,
                                          std::int64_t edge_count) {
    if (offsets[0] != 0 || offsets[count] != edge_count) {
        throw ArgumentError("offsets must begin with 0 and end with the number of edges, " +
                            std::to_string(edge_count) + ", got " + std::to_string(offsets[0]) + " and " +
                            std::to_string(offsets[count]));
    }
    // All are checked before any is used: one that is too large would point beyond the edges.
    if (!std::is_sorted(offsets, offsets + count + 1)) throw ArgumentError("offsets must ascend");
    std::vector<clique::EdgeList> graphs;
    graphs.reserve(count);
    for (std::size_t g = 0; g < count; ++g) {
        if (sizes[g] < 0 || sizes[g] == std::numeric_limits<std::int32_t>::max()) {
            throw ArgumentError("sizes must be at least 0 and below 2^31 - 1, got " +
                                std::to_string(sizes[g]) + " for graph " + std::to_string(g));
        }
        // Without edges there may be no array to point into.
        const std::int64_t length = offsets[g + 1] - offsets[g];
        graphs.push_back({sizes[g], length == 0 ? nullptr : edges + 2 * offsets[g], length});
        check_edges(graphs.back(), offsets[g]);
    }
    return graphs;
}

}  // namespace memcore::arguments
