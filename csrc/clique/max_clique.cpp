#include "clique/max_clique.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "clique/budget.hpp"
#include "clique/sparse_graph.hpp"
#include "clique/sparse_search.hpp"
#include "runtime/thread_pool.hpp"

namespace memcore::clique {
namespace {

void name_members(Clique& clique, const SparseGraph& graph) {
    for (int& v : clique.members) v = graph.names[static_cast<std::size_t>(v)];
}

// Up to these a graph is peeled on the stack first, for the two deepest cores that its degrees allow.
constexpr int kPeeledVertices = 1024;
constexpr int kPeeledEdges = 2048;
constexpr int kPeelings = 2;
// Cores of a smaller degree are left to the general search.
constexpr int kLeastPeeledDegree = 8;

struct Edge {
    std::int32_t u, v;
};
using Degrees = std::array<std::int16_t, kPeeledVertices>;

void count_degrees(const Edge* edges, std::size_t count, Degrees& degree, std::size_t n) {
    std::fill_n(degree.begin(), n, std::int16_t{0});
    for (std::size_t e = 0; e < count; ++e) {
        ++degree[static_cast<std::size_t>(edges[e].u)];
        ++degree[static_cast<std::size_t>(edges[e].v)];
    }
}

// How many of the first n have at least k. All in 16 bits, so that 8 are counted at once.
int count_at_least(const Degrees& degree, std::size_t n, int k) {
    const auto least = static_cast<std::int16_t>(k);
    std::int16_t total = 0;
    for (std::size_t v = 0; v < n; ++v) total = static_cast<std::int16_t>(total + (degree[v] >= least));
    return total;
}

// Writes the edges between vertices of degree k or more to `to`, which may be `from`, and returns their
// number.
std::size_t keep_at_least(const Edge* from, std::size_t count, const Degrees& degree, int k, Edge* to) {
    std::size_t left = 0;
    for (std::size_t e = 0; e < count; ++e) {
        const Edge edge = from[e];
        to[left] = edge;
        left +=
            std::min(degree[static_cast<std::size_t>(edge.u)], degree[static_cast<std::size_t>(edge.v)]) >= k
                ? 1
                : 0;
    }
    return left;
}

// Peels a small graph for its innermost core. Where that is complete, as a prompt's copies often are, it is
// the only maximum clique: no vertex outside has enough neighbours. Then its members, ascending; empty where
// the graph is not so, too large, or its edges are unsorted. It allocates nothing but the answer and touches
// nothing of n * n.
std::vector<int> complete_core(const EdgeList& list) {
    if (list.n > kPeeledVertices || list.count > kPeeledEdges || list.count == 0) return {};
    std::array<Edge, kPeeledEdges> all;
    std::array<Edge, kPeeledEdges> edges;
    Degrees whole;
    Degrees degree;
    const auto n = static_cast<std::size_t>(list.n);
    const auto given = static_cast<std::size_t>(list.count);
    std::fill_n(whole.begin(), n, std::int16_t{0});
    for (std::size_t i = 0; i < 2 * given; ++i) ++whole[static_cast<std::size_t>(list.edges[i])];
    if (count_at_least(whole, n, kLeastPeeledDegree) <= kLeastPeeledDegree) return {};
    // A core of degree k has more than k vertices of that degree: the largest such k is the first to try.
    int k = kLeastPeeledDegree;
    for (int above = 65; above - k > 1;) {
        const int middle = (k + above) / 2;
        (count_at_least(whole, n, middle) > middle ? k : above) = middle;
    }
    std::int64_t before = -1;
    bool ascending = true;
    for (std::size_t e = 0; e < given; ++e) {
        all[e] = {list.edges[2 * e], list.edges[2 * e + 1]};
        const std::int64_t key = static_cast<std::int64_t>(all[e].u) << 32 | all[e].v;
        ascending &= before < key;
        before = key;
    }
    if (!ascending) return {};
    for (int peeling = 0; peeling < kPeelings && k >= kLeastPeeledDegree; ++peeling, --k) {
        const auto needed = static_cast<std::size_t>(k) * static_cast<std::size_t>(k + 1) / 2;
        std::size_t count = keep_at_least(all.data(), given, whole, k, edges.data());
        while (count >= needed) {
            count_degrees(edges.data(), count, degree, n);
            const auto vertices = static_cast<std::size_t>(count_at_least(degree, n, 1));
            if (vertices > static_cast<std::size_t>(k) && 2 * count == vertices * (vertices - 1)) {
                // The smallest member's edges stand first and lead to all others.
                std::vector<int> members(vertices);
                members[0] = edges[0].u;
                for (std::size_t i = 1; i < vertices; ++i) members[i] = edges[i - 1].v;
                return members;
            }
            const std::size_t left = keep_at_least(edges.data(), count, degree, k, edges.data());
            if (left == count) return {};  // the core is whole, and not complete
            count = left;
        }
    }
    return {};
}

}  // namespace

std::int64_t first_bad_edge(const EdgeList& edges) {
    for (std::int64_t e = 0; e < edges.count; ++e) {
        const std::int32_t u = edges.edges[2 * e];
        const std::int32_t v = edges.edges[2 * e + 1];
        if (u < 0 || u >= v || v >= edges.n) return e;
    }
    return -1;
}

std::vector<std::int32_t> edges_of_matrix(const std::uint8_t* matrix, int n) {
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
    if (std::vector<int> core = complete_core(edges); static_cast<int>(core.size()) >= min_size) {
        const int size = static_cast<int>(core.size());
        if (size > 0) return {std::move(core), size, size, true, 0};
    }
    Budget budget{node_limit};
    const SparseGraph graph = sparse_graph(edges, std::max(min_size - 1, 1));
    Clique clique = canonical_maximum(graph, min_size, budget);
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
        cliques.push_back(std::move(clique));
        graph = Inducer(graph).lists(rest);
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
