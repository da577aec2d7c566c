// Graphs as neighbour lists: for the work before the search, in time linear in the number of edges.
#pragma once

#include <cstdint>
#include <vector>

#include "clique/bitset.hpp"
#include "clique/max_clique.hpp"

namespace memcore::clique {

// Neighbour lists, each ascending. `names` are the vertices' numbers in the caller's graph, ascending.
struct SparseGraph {
    std::vector<std::int64_t> begin;  // n + 1
    std::vector<int> neighbours;
    std::vector<int> names;  // n

    int n() const { return static_cast<int>(names.size()); }
    int degree(int v) const { return static_cast<int>(begin[at(v) + 1] - begin[at(v)]); }
    const int* from(int v) const { return neighbours.data() + begin[at(v)]; }
    const int* to(int v) const { return neighbours.data() + begin[at(v) + 1]; }

  private:
    static std::size_t at(int v) { return static_cast<std::size_t>(v); }
};

// Whether edges ascend by (first, second), none twice; and a copy that does.
bool strictly_ascending(const EdgeList& edges);
std::vector<std::int32_t> sorted_edges(const EdgeList& edges);

// Leaves out the vertices with fewer than `min_degree` neighbours; the answer can still hold some whose
// neighbours were left out. Edges may come in any order and more than once.
SparseGraph sparse_graph(const EdgeList& edges, int min_degree);

// Makes subgraphs of `graph` in time linear in their own neighbour lists, however many are made.
class Inducer {
  public:
    explicit Inducer(const SparseGraph& graph);

    // The subgraph of `vertices`, which ascend; vertex i of it is vertices[i], and the names are handed on.
    SparseGraph lists(const std::vector<int>& vertices);
    BitGraph bits(const std::vector<int>& vertices);

  private:
    template <class Visit>
    void visit_edges(const std::vector<int>& vertices, Visit&& visit);

    const SparseGraph& graph_;
    std::vector<int> number_;  // -1 outside of a call
};

// The core number of v is the largest k such that v lies in a subgraph where each vertex has k neighbours: no
// clique of more than k + 1 vertices holds v. `order` removes the vertex with the fewest remaining neighbours
// first.
struct Cores {
    std::vector<int> core;
    std::vector<int> order;
    int largest = 0;
};
Cores core_numbers(const SparseGraph& graph);

// A clique found in linear time; often a maximum one where the graph holds few. The graph must not be empty.
std::vector<int> quick_clique(const SparseGraph& graph, const Cores& cores);

}  // namespace memcore::clique
