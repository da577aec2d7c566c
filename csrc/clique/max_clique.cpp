#include "clique/max_clique.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "clique/budget.hpp"
#include "clique/sparse_graph.hpp"
#include "clique/sparse_search.hpp"
#include "runtime/interrupt.hpp"
#include "runtime/thread_pool.hpp"

namespace memcore::clique {
namespace {

void name_members(Clique& clique, const SparseGraph& graph) {
    for (int& v : clique.members) v = graph.names[static_cast<std::size_t>(v)];
}

// The pairs that find_cliques takes of a graph without a clique of three: always the smallest edge that is
// left, in one pass. A search for each would take time quadratic in their number. `left` receives the
// vertices that remain, which have no edge.
std::vector<Clique> take_pairs(const SparseGraph& graph, std::vector<int>& left) {
    std::vector<char> taken(static_cast<std::size_t>(graph.n()), 0);
    std::vector<Clique> pairs;
    left.clear();
    for (int v = 0; v < graph.n(); ++v) {
        check_interrupt_at(static_cast<std::size_t>(v));
        if (taken[static_cast<std::size_t>(v)] != 0) continue;
        const int* partner = std::upper_bound(graph.from(v), graph.to(v), v);
        while (partner != graph.to(v) && taken[static_cast<std::size_t>(*partner)] != 0) ++partner;
        if (partner == graph.to(v)) {
            left.push_back(v);
            continue;
        }
        taken[static_cast<std::size_t>(*partner)] = 1;
        pairs.push_back({{v, *partner}, 2, 2, true, 0});
    }
    return pairs;
}

}  // namespace

std::int64_t first_bad_edge(const EdgeList& edges) {
    const auto is_bad = [&](std::int64_t e) {
        const std::int32_t u = edges.edges[2 * e], v = edges.edges[2 * e + 1];
        return (u < 0) | (u >= v) | (v >= edges.n);
    };
    // No branch in the loop: nearly every list is good.
    bool any = false;
    for (std::int64_t e = 0; e < edges.count; ++e) any |= is_bad(e);
    if (!any) return -1;
    std::int64_t e = 0;
    while (!is_bad(e)) ++e;
    return e;
}

std::vector<std::int32_t> list_edges(const std::uint8_t* matrix, int n) {
    std::vector<std::int32_t> edges;
    for (int i = 0; i < n; ++i) {
        const std::uint8_t* const row = matrix + static_cast<std::size_t>(i) * static_cast<std::size_t>(n);
        for (int j = i + 1; j < n; ++j) {
            if (row[j] == 0) continue;
            edges.push_back(i);
            edges.push_back(j);
        }
    }
    return edges;
}

Clique max_clique(const EdgeList& edges, std::int64_t node_limit, int min_size) {
    min_size = std::max(min_size, 1);
    // A vertex without neighbours matters only where there is no edge at all.
    if (min_size == 1 && edges.n > 0 && edges.count == 0) return {{0}, 1, 1, true, 0};
    Clique clique;
    if (small_core_maximum(edges, node_limit, min_size, clique)) return clique;
    EdgeList list = edges;
    std::vector<std::int32_t> sorted;
    if (!strictly_ascending(edges)) {
        sorted = sorted_edges(edges);
        list.edges = sorted.data();
        list.count = static_cast<std::int64_t>(sorted.size() / 2);
        if (small_core_maximum(list, node_limit, min_size, clique)) return clique;
    }
    Budget budget{node_limit};
    const SparseGraph graph = sparse_graph(list, std::max(min_size - 1, 1));
    clique = canonical_maximum(graph, min_size, budget);
    name_members(clique, graph);
    return clique;
}

std::vector<Clique> find_cliques(const EdgeList& edges, int min_size, std::int64_t node_limit,
                                 Clique* rest_of) {
    Budget budget{node_limit};
    min_size = std::max(min_size, 1);
    SparseGraph graph = sparse_graph(edges, min_size - 1);
    std::vector<Clique> cliques;
    for (;;) {
        Clique clique = canonical_maximum(graph, min_size, budget);
        if (clique.members.empty()) {
            if (rest_of != nullptr) *rest_of = std::move(clique);
            return cliques;
        }
        std::vector<int> rest;
        for (int v = 0; v < graph.n(); ++v) {
            if (!std::binary_search(clique.members.begin(), clique.members.end(), v)) rest.push_back(v);
        }
        name_members(clique, graph);
        const bool only_pairs_remain = clique.upper == 2;
        cliques.push_back(std::move(clique));
        graph = Inducer(graph).lists(rest);
        if (only_pairs_remain) {
            for (Clique& pair : take_pairs(graph, rest)) {
                name_members(pair, graph);
                cliques.push_back(std::move(pair));
            }
            graph = Inducer(graph).lists(rest);
        }
    }
}

std::vector<Clique> max_cliques(std::span<const EdgeList> graphs, std::int64_t node_limit, int min_size,
                                int threads) {
    std::vector<Clique> answers(graphs.size());
    parallel_for(graphs.size(), threads, [&](std::size_t g, std::size_t) {
        answers[g] = max_clique(graphs[g], node_limit, min_size);
    });
    return answers;
}

}  // namespace memcore::clique
