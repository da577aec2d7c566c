// The canonical answer: of all maximum cliques the lexicographically smallest.
#include <cstddef>
#include <utility>
#include <vector>

#include "clique/dense_search.hpp"
#include "runtime/interrupt.hpp"

namespace memcore::clique {

// Vertices are decided on in ascending order; `clique` is always a maximum clique that starts with the
// vertices taken so far. A vertex that is in it is taken. For any other the question is whether some maximum
// clique holds it and all taken ones.
//
// The candidates are the common neighbours of what was taken, without the vertices that were refused. Where
// their complement is not connected, the choice in one part does not bear on the others, so that only the
// vertex's own part is searched.
bool DenseSearch::make_canonical(BitSet candidates, std::vector<int>& clique) {
    BitSet rest(graph_.words());  // the clique without what was taken
    for (const int v : clique) rest.set(v);
    std::vector<int> taken;
    bool certain = true;
    int needed = static_cast<int>(clique.size());
    while (certain && needed > 0 && candidates.count() > needed) {
        check_interrupt();
        const int v = candidates.first();
        const Word* const row = graph_.row(v);
        candidates.clear(v);
        bool take = rest.test(v);
        if (!take) {
            // The clique's vertices that v would push out.
            int conflicts = 0;
            int other = -1;
            for (std::size_t w = 0; w < rest.words(); ++w) {
                const Word bits = rest.data()[w] & ~row[w];
                conflicts += count_bits(bits);
                if (bits != 0) other = static_cast<int>(w) * kWordBits + std::countr_zero(bits);
            }
            if (conflicts == 1) {
                rest.clear(other);
                rest.set(v);
                take = true;
            } else {
                candidates.set(v);
                BitSet part = find_component(v, candidates, true);
                candidates.clear(v);
                BitSet replaced = rest;
                replaced.intersect(part.data());
                const int size = replaced.count();
                part.intersect(row);
                const FoundClique found = larger(std::move(part), size - 2, size - 1);
                certain = found.finished;
                if (found.found) {
                    for_each_bit(replaced.data(), replaced.words(), [&](int u) { rest.clear(u); });
                    for (const int u : found.members) rest.set(u);
                    rest.set(v);
                    take = true;
                }
            }
        }
        if (take) {
            taken.push_back(v);
            rest.clear(v);
            candidates.intersect(row);
            --needed;
        }
    }
    clique = std::move(taken);
    for_each_bit(rest.data(), rest.words(), [&](int u) { clique.push_back(u); });
    return certain;
}

}  // namespace memcore::clique
