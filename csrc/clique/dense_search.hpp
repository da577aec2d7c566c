// Searches among the vertices of a graph that is small enough for bit rows. Picks for each subproblem what
// solves it: nothing left after peeling, a complete graph, a sparse complement, a split by vertices, or
// branch and bound.
#pragma once

#include <vector>

#include "clique/bitset.hpp"
#include "clique/budget.hpp"
#include "runtime/aligned.hpp"

namespace memcore::clique {

// Above this many vertices a graph stays in neighbour lists until a vertex's neighbourhood is small enough.
constexpr int kMaxDenseVertices = 4096;

// Vertices whose neighbours in the complement number at most this on average go to the independent-set
// search.
constexpr int kSparseComplementDegree = 6;

using FoundClique = Outcome<std::vector<int>>;

class DenseSearch {
  public:
    DenseSearch(const BitGraph& graph, Budget& budget);

    // A maximum clique among the candidates, if it has more than `lower` vertices: components first, greedy
    // first.
    FoundClique maximum(const BitSet& candidates, int lower);

    // A maximum clique of more than `lower` vertices, ending early at one of `stop_at`.
    FoundClique larger(BitSet candidates, int lower, int stop_at);

    // Turns a maximum clique of the candidates into the canonical one. False where the budget ended before
    // that was certain.
    bool make_canonical(BitSet candidates, std::vector<int>& clique);

    BitSet all() const;

  private:
    // What is left of the candidates after peeling.
    struct Subgraph {
        BitSet set;
        std::vector<int> vertices;  // ascending, or in colouring order after order_by_width
        std::vector<int> degree;    // degree[i] = neighbours of vertices[i] in the set
        std::int64_t arcs = 0;
        int width_bound = 0;  // no clique has more vertices

        int count() const { return static_cast<int>(vertices.size()); }
        std::int64_t missing_arcs() const {
            return static_cast<std::int64_t>(count()) * (count() - 1) - arcs;
        }
        double density() const {
            return static_cast<double>(arcs) / (static_cast<double>(count()) * (count() - 1));
        }
        bool sparse_complement() const {
            return missing_arcs() <= static_cast<std::int64_t>(kSparseComplementDegree) * count();
        }
    };

    Subgraph peeled(const BitSet& candidates, int lower) const;
    void order_by_width(Subgraph& sub);
    FoundClique maximum_of_connected(const BitSet& candidates, int lower);
    FoundClique by_complement(const Subgraph& sub, int lower, int stop_at);
    FoundClique by_split(const Subgraph& sub, int lower, int stop_at);
    FoundClique by_branching(const Subgraph& sub, int lower, int stop_at);
    int pack(const Subgraph& sub);
    std::vector<int> greedy(const Subgraph& sub) const;
    std::vector<BitSet> components(const BitSet& candidates, bool of_complement) const;
    BitSet find_component(int v, const BitSet& candidates, bool of_complement) const;
    int colour_bound(BitSet candidates) const;
    void degrees(const Word* within, const std::vector<int>& vertices, std::vector<int>& out) const;

    const BitGraph& graph_;
    Budget& budget_;
    AlignedArray<unsigned char> workspace_;
    AlignedArray<Word> packed_;
    std::vector<int> place_;  // scratch: a vertex's bit in the branching kernel, -1 outside
};

}  // namespace memcore::clique
