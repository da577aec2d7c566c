// Maximum cliques, exact, with bounds and proof. The only header of this folder that the rest of csrc
// includes.
//
// The canonical answer: of all maximum cliques the one whose ascending list of vertices is lexicographically
// smallest. It does not depend on how it was found, so the answers of all backends can be compared.
//
// Work is limited by nodes of the search, never by a clock: the same answer on every machine, also where the
// limit ends the search early.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace memcore::clique {

// The edges (edges[2e], edges[2e + 1]) of a graph on n vertices: 0 <= first < second < n, any order,
// repetitions allowed. Lists sorted by (first, second), without repetitions, are read in place.
struct EdgeList {
    int n = 0;
    const std::int32_t* edges = nullptr;
    std::int64_t count = 0;
};

// The first edge that is not 0 <= first < second < n, or -1.
std::int64_t first_bad_edge(const EdgeList& edges);

// A square matrix, nonzero where two vertices are adjacent; only the part above the diagonal is read. Gives
// its edges, sorted.
std::vector<std::int32_t> list_edges(const std::uint8_t* matrix, int n);

struct Clique {
    std::vector<int> members;  // ascending
    int lower = 0;             // lower <= clique number <= upper
    int upper = 0;
    bool proven = false;  // lower == upper, and members are the canonical answer
    std::int64_t nodes = 0;
};

// The maximum clique. With min_size > 1: where the graph has no clique of min_size, the answer may be the
// empty clique with upper = min_size - 1, found by peeling alone in most cases.
Clique max_clique(const EdgeList& edges, std::int64_t node_limit, int min_size = 0);

// Solves without allocating anything but the answer, in a few microseconds, for graphs of at most 1,024
// vertices and 4,096 edges, which must ascend, whose vertices of large degree fit one machine word: those of
// most prompts. False for any other, and where the search takes long; `answer` is then as it was.
bool small_core_maximum(const EdgeList& edges, std::int64_t node_limit, int min_size, Clique& answer);

// Vertex-disjoint cliques of at least min_size: the canonical maximum clique, then that of the vertices that
// remain, and so on. node_limit is for all of them together; one that the limit left unproven is still
// disjoint from the others. `rest`, if not nullptr, receives what is known of the vertices that they leave: a
// clique among them has at most rest->upper members, and rest->upper < min_size exactly where the limit was
// not needed.
std::vector<Clique> find_cliques(const EdgeList& edges, int min_size, std::int64_t node_limit,
                                 Clique* rest = nullptr);

// max_clique of each graph, on `threads` threads (0: all usable CPUs); node_limit is for each graph.
std::vector<Clique> max_cliques(std::span<const EdgeList> graphs, std::int64_t node_limit, int min_size,
                                int threads);

}  // namespace memcore::clique
