// Graphs for the clique kernels on fibers, and the CPU solver's answer for them.
#pragma once

#include <bit>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "clique/max_clique.hpp"
#include "tests/simt/simt.hpp"

namespace simt_tests {

using memcore::clique::Clique;

constexpr std::int64_t kNoLimit = std::int64_t{1} << 40;

inline int passed = 0;
inline int failed = 0;

inline void check(bool holds, const std::string& what) {
    holds ? ++passed : ++failed;
    if (!holds)
        std::printf("FAILED: %s (SIMT_SEED=%llu)\n", what.c_str(),
                    static_cast<unsigned long long>(simt::settings().seed));
}

struct Graphs {
    int n;
    std::vector<std::vector<std::int32_t>> edges;

    std::size_t words() const { return (static_cast<std::size_t>(n) + 31) / 32; }
    std::vector<std::uint32_t> bits() const {
        const auto vertices = static_cast<std::size_t>(n);
        std::vector<std::uint32_t> all(edges.size() * vertices * words());
        for (std::size_t g = 0; g < edges.size(); ++g) {
            const auto arc = [&](std::int32_t u, std::int32_t v) {
                const auto from = static_cast<std::size_t>(u), to = static_cast<std::size_t>(v);
                all[(g * vertices + from) * words() + to / 32] |= 1u << to % 32;
            };
            for (std::size_t e = 0; e < edges[g].size(); e += 2) {
                arc(edges[g][e], edges[g][e + 1]);
                arc(edges[g][e + 1], edges[g][e]);
            }
        }
        return all;
    }
};

inline Clique on_cpu(const Graphs& graphs, std::size_t g, int min_size) {
    const auto& edges = graphs.edges[g];
    return memcore::clique::max_clique({graphs.n, edges.data(), static_cast<std::int64_t>(edges.size() / 2)},
                                       kNoLimit, min_size);
}

template <class Adjacent>
std::vector<std::int32_t> edges_where(int n, Adjacent&& adjacent) {
    std::vector<std::int32_t> edges;
    for (int i = 0; i < n; ++i) {
        for (int j = i + 1; j < n; ++j) {
            if (adjacent(i, j)) edges.insert(edges.end(), {i, j});
        }
    }
    return edges;
}

inline Graphs random_graphs(int n, int count, unsigned seed) {
    std::mt19937 random(seed);
    Graphs graphs{n, {}};
    for (int g = 0; g < count; ++g) {
        const double p = 0.05 + 0.9 * g / count;
        graphs.edges.push_back(edges_where(n, [&](int, int) { return random() < p * 4294967296.0; }));
    }
    return graphs;
}

// Families with many maximum cliques, or with one that greedy choices miss.
inline Graphs known_families(int n) {
    Graphs graphs{n, {}};
    graphs.edges.push_back(edges_where(n, [](int, int) { return false; }));
    graphs.edges.push_back(edges_where(n, [](int, int) { return true; }));
    graphs.edges.push_back(edges_where(n, [](int i, int j) { return i / 2 != j / 2; }));
    graphs.edges.push_back(edges_where(n, [](int i, int j) { return std::popcount(unsigned(i ^ j)) >= 2; }));
    graphs.edges.push_back(edges_where(n, [&](int i, int j) { return j - i != 1 && j - i != n - 1; }));
    graphs.edges.push_back(edges_where(n, [](int i, int j) { return (i % 4 == j % 4) && i / 20 == j / 20; }));
    graphs.edges.push_back(
        edges_where(n, [](int i, int j) { return i < 3 ? j % 3 == i : i >= 7 && j < 14; }));
    return graphs;
}

// What an audit meets: next to no edges, and a clique of near-duplicates with some edges missing.
inline std::vector<std::int32_t> planted(int n, int size, int step, double missing, unsigned seed) {
    std::mt19937 random(seed);
    return edges_where(n, [&](int i, int j) {
        const bool inside = i % step == 1 && j % step == 1 && j / step < size;
        return inside ? random() >= missing * 4294967296.0 : random() % 400 == 0;
    });
}

}  // namespace simt_tests
