// Pairs and edges, and what may be left out of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace memcore::graph {

struct Pair {
    std::uint32_t i, j;  // i < j
};

struct Edge {
    std::int32_t i, j;  // i < j
    std::uint64_t ssd;  // of the largest tile
    bool operator<(const Edge& other) const { return i != other.i ? i < other.i : j < other.j; }
};

// Marks the vertices of the largest subgraph in which every vertex has at least `degree` neighbours: a clique
// of degree + 1 lies within it. Link is Pair or Edge.
template <class Link>
std::vector<std::uint8_t> core(std::size_t vertices, const std::vector<Link>& links, std::size_t degree);

// Keeps the links between marked vertices.
template <class Link>
void keep_within(const std::vector<std::uint8_t>& marked, std::vector<Link>& links);

// Connected components: the pairs of each, in their order, and its vertices, ascending.
struct Component {
    std::vector<Pair> pairs;
    std::vector<std::uint32_t> vertices;
};
std::vector<Component> components(std::size_t vertices, const std::vector<Pair>& pairs);

}  // namespace memcore::graph
