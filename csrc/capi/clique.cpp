#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "arguments/call.hpp"
#include "arguments/edges.hpp"
#include "capi/status.hpp"
#include "clique/max_clique.hpp"

struct memcore_cliques {
    std::vector<memcore::clique::Clique> found;
    std::int64_t upper_of_rest = 0;
};

using namespace memcore;
using namespace memcore::capi;

namespace {

// An array cannot be longer than the address space: a larger count is no count.
void check_address(std::size_t count, std::size_t bytes, const char* name) {
    if (product(count, bytes, name) <= static_cast<std::size_t>(PTRDIFF_MAX)) return;
    throw ArgumentError(std::string(name) + ": " + std::to_string(count) + " do not fit an address",
                        Fault::kOverflow);
}

clique::EdgeList view(std::int64_t n, const std::int32_t* edges, std::size_t edge_count,
                      std::int64_t node_limit) {
    arguments::check_node_limit(node_limit);
    clique::EdgeList list;
    list.n = arguments::check_n(n);
    if (edge_count == 0) return list;
    check_pointer(edges, "edges");
    check_address(edge_count, 2 * sizeof(*edges), "edges");
    list.edges = edges;
    list.count = static_cast<std::int64_t>(edge_count);
    arguments::check_edges(list);
    return list;
}

}  // namespace

extern "C" {

memcore_status memcore_max_clique(int64_t n, const int32_t* edges, size_t edge_count, int64_t node_limit,
                                  memcore_cliques** cliques) {
    if (cliques != nullptr) *cliques = nullptr;
    return guarded([&] {
        check_pointer(cliques, "cliques");
        auto made = std::make_unique<memcore_cliques>();
        made->found.push_back(clique::max_clique(view(n, edges, edge_count, node_limit), node_limit));
        made->upper_of_rest = made->found.front().upper;
        *cliques = made.release();
    });
}

memcore_status memcore_find_cliques(int64_t n, const int32_t* edges, size_t edge_count, int64_t min_size,
                                    int64_t node_limit, memcore_cliques** cliques) {
    if (cliques != nullptr) *cliques = nullptr;
    return guarded([&] {
        check_pointer(cliques, "cliques");
        const int least = arguments::check_min_size(min_size, 2);
        auto made = std::make_unique<memcore_cliques>();
        clique::Clique rest;
        made->found = clique::find_cliques(view(n, edges, edge_count, node_limit), least, node_limit, &rest);
        made->upper_of_rest = rest.upper;
        *cliques = made.release();
    });
}

memcore_status memcore_max_cliques(size_t graph_count, const int32_t* sizes, const int64_t* offsets,
                                   const int32_t* edges, size_t edge_count, int64_t min_size,
                                   int64_t node_limit, int32_t threads, memcore_cliques** cliques) {
    if (cliques != nullptr) *cliques = nullptr;
    return guarded([&] {
        check_pointer(cliques, "cliques");
        arguments::check_node_limit(node_limit);
        const int workers = arguments::check_threads(threads);
        const int least = arguments::check_min_size(min_size);
        check_address(graph_count, sizeof(clique::EdgeList), "graph_count");
        check_address(edge_count, 2 * sizeof(*edges), "edges");
        check_pointer(offsets, "offsets");
        if (graph_count != 0) check_pointer(sizes, "sizes");
        if (edge_count != 0) check_pointer(edges, "edges");
        const std::vector<clique::EdgeList> graphs =
            arguments::make_graphs(sizes, offsets, graph_count, edges, static_cast<std::int64_t>(edge_count));
        auto made = std::make_unique<memcore_cliques>();
        made->found = clique::max_cliques(graphs, node_limit, least, workers);
        for (const clique::Clique& clique : made->found)
            made->upper_of_rest = std::max<std::int64_t>(made->upper_of_rest, clique.upper);
        *cliques = made.release();
    });
}

size_t memcore_cliques_count(const memcore_cliques* cliques) {
    return cliques == nullptr ? 0 : cliques->found.size();
}

int64_t memcore_cliques_upper_of_rest(const memcore_cliques* cliques) {
    return cliques == nullptr ? 0 : cliques->upper_of_rest;
}

memcore_status memcore_cliques_get(const memcore_cliques* cliques, size_t index, memcore_clique* clique) {
    return guarded([&] {
        check_pointer(cliques, "cliques");
        check_pointer(clique, "clique");
        check_struct_size(clique->struct_size, sizeof(memcore_clique), "memcore_clique");
        if (index >= cliques->found.size()) {
            throw ArgumentError("index must be below the number of cliques, " +
                                std::to_string(cliques->found.size()) + ", got " + std::to_string(index));
        }
        const clique::Clique& found = cliques->found[index];
        clique->members = found.members.data();
        clique->size = found.members.size();
        clique->lower = found.lower;
        clique->upper = found.upper;
        clique->proven = found.proven ? 1 : 0;
        clique->nodes = found.nodes;
    });
}

void memcore_cliques_free(memcore_cliques* cliques) { delete cliques; }
}
