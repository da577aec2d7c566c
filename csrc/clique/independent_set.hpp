// Cliques of nearly complete graphs: a clique is an independent set of the complement, and a sparse
// complement splits under reductions (the vertices outside form its vertex cover).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "clique/budget.hpp"

namespace memcore::clique {

// A graph whose vertices are removed and merged during the search. Neighbour lists lie in one array, so
// that a copy, which each branch needs, is a few calls of memcpy; a list may hold removed vertices, `degree`
// counts the others.
struct SparseState {
    std::vector<int> lists;
    std::vector<int> begin, length, degree;
    std::vector<char> alive;

    explicit SparseState(int n) : begin(size(n)), length(size(n)), degree(size(n)), alive(size(n), 1) {}
    int n() const { return static_cast<int>(alive.size()); }

  private:
    static std::size_t size(int n) { return static_cast<std::size_t>(n); }
};

// A largest independent set of more than `lower` vertices, ending early at one of `stop_at`.
Outcome<std::vector<int>> max_independent_set(SparseState state, int lower, int stop_at, Budget& budget);

// Takes the vertex of smallest degree again and again, after all reductions: a large independent set,
// quickly.
std::vector<int> greedy_independent_set(SparseState state);

}  // namespace memcore::clique
