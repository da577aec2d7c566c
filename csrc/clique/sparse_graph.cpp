#include "clique/sparse_graph.hpp"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <numeric>
#include <utility>

#include "runtime/interrupt.hpp"
#include "runtime/long_sort.hpp"

namespace memcore::clique {
namespace {

constexpr int kSparseVertices = 1 << 16;

std::size_t at(int v) { return static_cast<std::size_t>(v); }

using Edge = std::pair<std::int32_t, std::int32_t>;

Edge edge(const std::int32_t* edges, std::int64_t e) { return {edges[2 * e], edges[2 * e + 1]}; }

// Calls visit(u, first, end) for each run of edges that begin with the same vertex. What a loop counts for u
// can then stay in a register: a counter in memory, written for each edge, would wait for itself.
template <class Visit>
void for_each_run(const EdgeList& edges, Visit&& visit) {
    std::size_t run = 0;
    for (std::int64_t first = 0, end = 0; first < edges.count; first = end) {
        const std::int32_t u = edges.edges[2 * first];
        while (end < edges.count && edges.edges[2 * end] == u) ++end;
        check_interrupt_at(run++);
        visit(u, first, end);
    }
}

// Returns the graph on the vertices that have neighbours, numbered in their order; `used` are those vertices.
std::vector<std::int32_t> renumbered(const EdgeList& edges, std::vector<std::int32_t>& used) {
    std::vector<std::int32_t> flat(edges.edges, edges.edges + 2 * edges.count);
    used = flat;
    long_sort(used.begin(), used.end(), std::less<>());
    used.erase(std::unique(used.begin(), used.end()), used.end());
    for (std::size_t i = 0; i < flat.size(); ++i) {
        check_interrupt_at(i);
        flat[i] =
            static_cast<std::int32_t>(std::lower_bound(used.begin(), used.end(), flat[i]) - used.begin());
    }
    return flat;
}

}  // namespace

bool strictly_ascending(const EdgeList& list) {
    const std::int32_t* const edges = list.edges;
    // Both ends as one number; no branch in the loop, since nearly every list ascends.
    const auto key = [&](std::int64_t e) {
        return static_cast<std::int64_t>(edges[2 * e]) << 32 | static_cast<std::uint32_t>(edges[2 * e + 1]);
    };
    bool ascending = true;
    for (std::int64_t e = 1; e < list.count; ++e) ascending &= key(e - 1) < key(e);
    return ascending;
}

std::vector<std::int32_t> sorted_edges(const EdgeList& edges) {
    std::vector<Edge> all(static_cast<std::size_t>(edges.count));
    for (std::int64_t e = 0; e < edges.count; ++e) all[static_cast<std::size_t>(e)] = edge(edges.edges, e);
    long_sort(all.begin(), all.end(), std::less<>());
    all.erase(std::unique(all.begin(), all.end()), all.end());
    std::vector<std::int32_t> flat;
    flat.reserve(2 * all.size());
    for (const Edge& e : all) {
        flat.push_back(e.first);
        flat.push_back(e.second);
    }
    return flat;
}

SparseGraph sparse_graph(const EdgeList& list, int min_degree) {
    // Memory depends on the edges, not on n: 2^31 vertices with one edge do not take 16 GB.
    if (min_degree > 0 && list.n > kSparseVertices && list.n / 8 > list.count) {
        std::vector<std::int32_t> used;
        const std::vector<std::int32_t> flat = renumbered(list, used);
        SparseGraph graph =
            sparse_graph({static_cast<int>(used.size()), flat.data(), list.count}, min_degree);
        for (int& name : graph.names) name = used[at(name)];
        return graph;
    }
    EdgeList edges = list;
    std::vector<std::int32_t> sorted;
    if (!strictly_ascending(edges)) {
        sorted = sorted_edges(edges);
        edges.edges = sorted.data();
        edges.count = static_cast<std::int64_t>(sorted.size() / 2);
    }
    std::vector<int> degree(at(edges.n));
    for_each_run(edges, [&](std::int32_t u, std::int64_t first, std::int64_t end) {
        degree[at(u)] += static_cast<int>(end - first);
        for (std::int64_t e = first; e < end; ++e) ++degree[at(edges.edges[2 * e + 1])];
    });

    SparseGraph graph;
    std::vector<int> number(at(edges.n), -1);
    for (int v = 0; v < edges.n; ++v) {
        if (degree[at(v)] < min_degree) continue;
        number[at(v)] = graph.n();
        graph.names.push_back(v);
    }
    // A vertex without neighbours changes no other vertex.
    if (min_degree > 1 && graph.n() != edges.n) {
        std::fill(degree.begin(), degree.end(), 0);
        for (std::int64_t e = 0; e < edges.count; ++e) {
            const auto [u, v] = edge(edges.edges, e);
            const bool kept = number[at(u)] >= 0 && number[at(v)] >= 0;
            degree[at(u)] += kept;
            degree[at(v)] += kept;
        }
    }
    graph.begin.resize(at(graph.n()) + 1);
    std::vector<std::int64_t> fill(at(graph.n()));
    for (int i = 0; i < graph.n(); ++i) {
        fill[at(i)] = graph.begin[at(i)];
        graph.begin[at(i) + 1] = graph.begin[at(i)] + degree[at(graph.names[at(i)])];
    }
    graph.neighbours.resize(static_cast<std::size_t>(graph.begin.back()));
    // Edges ascend, so each list gets its smaller neighbours, ascending, before its larger ones.
    for_each_run(edges, [&](std::int32_t i, std::int64_t first, std::int64_t end) {
        const int u = number[at(i)];
        if (u < 0) return;
        std::int64_t position = fill[at(u)];
        for (std::int64_t e = first; e < end; ++e) {
            const int v = number[at(edges.edges[2 * e + 1])];
            if (v < 0) continue;
            graph.neighbours[static_cast<std::size_t>(position++)] = v;
            graph.neighbours[static_cast<std::size_t>(fill[at(v)]++)] = u;
        }
        fill[at(u)] = position;
    });
    return graph;
}

Inducer::Inducer(const SparseGraph& graph) : graph_(graph), number_(at(graph.n()), -1) {}

template <class Visit>
void Inducer::visit_edges(const std::vector<int>& vertices, Visit&& visit) {
    for (std::size_t i = 0; i < vertices.size(); ++i) number_[at(vertices[i])] = static_cast<int>(i);
    for (std::size_t i = 0; i < vertices.size(); ++i) {
        check_interrupt_at(i);
        for (const int* u = graph_.from(vertices[i]); u != graph_.to(vertices[i]); ++u) {
            if (number_[at(*u)] >= 0) visit(static_cast<int>(i), number_[at(*u)]);
        }
    }
    for (const int v : vertices) number_[at(v)] = -1;
}

SparseGraph Inducer::lists(const std::vector<int>& vertices) {
    SparseGraph sub;
    sub.begin.resize(vertices.size() + 1);
    visit_edges(vertices, [&](int i, int j) {
        sub.neighbours.push_back(j);
        ++sub.begin[at(i) + 1];
    });
    std::partial_sum(sub.begin.begin(), sub.begin.end(), sub.begin.begin());
    for (const int v : vertices) sub.names.push_back(graph_.names[at(v)]);
    return sub;
}

BitGraph Inducer::bits(const std::vector<int>& vertices) {
    BitGraph sub(static_cast<int>(vertices.size()));
    visit_edges(vertices, [&](int i, int j) { sub.add_arc(i, j); });
    return sub;
}

// Batagelj and Zaversnik: vertices are sorted by remaining degree; removing one swaps each neighbour to the
// front of its run of equal degrees and makes it one less.
Cores core_numbers(const SparseGraph& graph) {
    const int n = graph.n();
    Cores cores;
    cores.core.resize(at(n));
    cores.order.resize(at(n));
    int largest_degree = 0;
    for (int v = 0; v < n; ++v) {
        cores.core[at(v)] = graph.degree(v);
        largest_degree = std::max(largest_degree, graph.degree(v));
    }
    std::vector<int> run(at(largest_degree) + 2);
    for (const int d : cores.core) ++run[at(d) + 1];
    std::partial_sum(run.begin(), run.end(), run.begin());
    std::vector<int> position(at(n));
    {
        std::vector<int> next(run.begin(), run.end());
        for (int v = 0; v < n; ++v) {
            position[at(v)] = next[at(cores.core[at(v)])]++;
            cores.order[at(position[at(v)])] = v;
        }
    }
    for (int i = 0; i < n; ++i) {
        check_interrupt_at(at(i));
        const int v = cores.order[at(i)];
        const int k = cores.core[at(v)];
        cores.largest = std::max(cores.largest, k);
        for (const int* u = graph.from(v); u != graph.to(v); ++u) {
            const int d = cores.core[at(*u)];
            if (d <= k) continue;
            const int front = run[at(d)]++;
            const int other = cores.order[at(front)];
            std::swap(cores.order[at(front)], cores.order[at(position[at(*u)])]);
            position[at(other)] = position[at(*u)];
            position[at(*u)] = front;
            --cores.core[at(*u)];
        }
    }
    return cores;
}

std::vector<int> quick_clique(const SparseGraph& graph, const Cores& cores) {
    std::vector<char> chosen(at(graph.n()), 0);
    const auto fits = [&](int v, const std::vector<int>& clique) {
        const auto shared =
            std::count_if(graph.from(v), graph.to(v), [&](int u) { return chosen[at(u)] != 0; });
        return shared == static_cast<std::ptrdiff_t>(clique.size());
    };
    std::vector<int> end;
    for (auto v = cores.order.rbegin(); v != cores.order.rend() && fits(*v, end); ++v) {
        chosen[at(*v)] = 1;
        end.push_back(*v);
    }
    if (static_cast<int>(end.size()) > cores.largest) return end;

    // The innermost core may have several parts, of which the end of the order mixes vertices.
    const auto first = std::find_if(cores.order.begin(), cores.order.end(),
                                    [&](int v) { return cores.core[at(v)] == cores.largest; });
    std::fill(chosen.begin(), chosen.end(), 0);
    std::vector<int> around{*first};
    chosen[at(*first)] = 1;
    for (const int* v = graph.from(*first); v != graph.to(*first); ++v) {
        if (cores.core[at(*v)] < cores.largest || !fits(*v, around)) continue;
        chosen[at(*v)] = 1;
        around.push_back(*v);
    }
    return around.size() > end.size() ? around : end;
}

}  // namespace memcore::clique
