// What bounds a dense search from below and above, and what divides it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "clique/dense_search.hpp"
#include "runtime/interrupt.hpp"

namespace memcore::clique {
namespace {

// Greedy starts, and the words that they may read together.
constexpr int kGreedyStarts = 16;
constexpr std::int64_t kGreedyWords = 1'000'000;

std::size_t at(int v) { return static_cast<std::size_t>(v); }

}  // namespace

// From many starts, each time the candidate with the most neighbours among the candidates.
std::vector<int> DenseSearch::greedy(const Subgraph& sub) const {
    std::vector<int> best;
    std::int64_t looked_at = 0;
    std::vector<int> rest;
    std::vector<int> degree;
    const int starts = std::min(kGreedyStarts, sub.count());
    for (int start = 0; start < starts; ++start) {
        check_interrupt();
        // Spread over the order, so that they differ.
        std::vector<int> clique{sub.vertices[at(start * sub.count() / starts)]};
        BitSet candidates = sub.set;
        candidates.intersect(graph_.row(clique[0]));
        for (rest = list_members(candidates); !rest.empty(); rest = list_members(candidates)) {
            if (clique.size() + rest.size() <= best.size()) break;
            degrees(candidates.data(), rest, degree);
            looked_at += static_cast<std::int64_t>(rest.size() * graph_.words());
            const auto most = std::max_element(degree.begin(), degree.end());
            const int v = rest[static_cast<std::size_t>(most - degree.begin())];
            if (*most + 1 == static_cast<int>(rest.size())) {
                // Its neighbours are all the others; if all are like it, take them at once.
                if (std::all_of(degree.begin(), degree.end(), [&](int d) { return d == *most; })) {
                    clique.insert(clique.end(), rest.begin(), rest.end());
                    break;
                }
            }
            clique.push_back(v);
            candidates.intersect(graph_.row(v));
        }
        if (clique.size() > best.size()) best = std::move(clique);
        if (looked_at > kGreedyWords) break;
    }
    return best;
}

BitSet DenseSearch::find_component(int v, const BitSet& candidates, bool of_complement) const {
    BitSet rest = candidates;
    BitSet part(graph_.words());
    std::vector<int> queue{v};
    rest.clear(v);
    while (!queue.empty()) {
        const int u = queue.back();
        queue.pop_back();
        part.set(u);
        const Word* const row = graph_.row(u);
        for (std::size_t w = 0; w < rest.words(); ++w) {
            const Word reached = rest.data()[w] & (of_complement ? ~row[w] : row[w]);
            rest.data()[w] ^= reached;
            for (Word bits = reached; bits != 0; bits &= bits - 1) {
                queue.push_back(static_cast<int>(w) * kWordBits + std::countr_zero(bits));
            }
        }
    }
    return part;
}

std::vector<BitSet> DenseSearch::components(const BitSet& candidates, bool of_complement) const {
    std::vector<BitSet> parts;
    BitSet rest = candidates;
    while (!rest.empty()) {
        parts.push_back(find_component(rest.first(), rest, of_complement));
        for (std::size_t w = 0; w < rest.words(); ++w) rest.data()[w] &= ~parts.back().data()[w];
    }
    return parts;
}

// The number of colours of a greedy colouring.
int DenseSearch::colour_bound(BitSet candidates) const {
    int colours = 0;
    for (; !candidates.empty(); ++colours) {
        check_interrupt();
        BitSet open = candidates;
        for (std::size_t w = 0; w < open.words(); ++w) {
            while (open.data()[w] != 0) {
                const int v = static_cast<int>(w) * kWordBits + std::countr_zero(open.data()[w]);
                candidates.clear(v);
                open.clear(v);
                const Word* const row = graph_.row(v);
                for (std::size_t i = w; i < open.words(); ++i) open.data()[i] &= ~row[i];
            }
        }
    }
    return colours;
}

}  // namespace memcore::clique
