// Sparse graphs with a small dense part: bits of one machine word a vertex.
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "clique/bitset.hpp"
#include "clique/max_clique.hpp"

namespace memcore::clique {
namespace {

constexpr std::size_t kVertices = 1024;
constexpr std::int64_t kEdges = 4096;
constexpr std::int64_t kNodes = 2000;

// In 16 bits, so that 8 are compared at once.
using Degrees = std::array<std::int16_t, kVertices>;

constexpr std::size_t round_up_to_four(std::size_t n) { return (n + 3) / 4 * 4; }

// Degrees of a list that ascends strictly; false for any other. Edges of the same first vertex follow one
// another: what they count for it stays in a register, where a counter in memory would wait for itself.
bool count_degrees(const EdgeList& list, Degrees& degree) {
    std::fill_n(degree.begin(), round_up_to_four(static_cast<std::size_t>(list.n)), std::int16_t{0});
    const std::int32_t* const end = list.edges + 2 * list.count;
    std::int32_t before = -1;
    bool ascending = true;
    for (const std::int32_t* e = list.edges; e != end;) {
        const std::int32_t u = *e;
        ascending &= before < u;
        before = u;
        const std::int32_t* const first = e;
        std::int32_t last = u;
        do {
            ascending &= last < e[1];
            last = e[1];
            ++degree[static_cast<std::size_t>(last)];
            e += 2;
        } while (e != end && *e == u);
        degree[static_cast<std::size_t>(u)] =
            static_cast<std::int16_t>(degree[static_cast<std::size_t>(u)] + (e - first) / 2);
    }
    return ascending;
}

int count_at_least(const Degrees& degree, std::size_t n, int k) {
    const auto least = static_cast<std::int16_t>(k);
    std::int16_t total = 0;
    for (std::size_t v = 0; v < n; ++v) total = static_cast<std::int16_t>(total + (degree[v] >= least));
    return total;
}

// Calls visit(v) for each vertex of that degree or more, ascending; those without are passed by in fours.
template <class Visit>
void for_each_at_least(const Degrees& degree, std::size_t n, int least, Visit&& visit) {
    constexpr std::uint64_t kOnes = 0x0001000100010001u, kTops = 0x8000u * kOnes;
    // Degrees are below 2^15, so the sum's top bit is the result of the comparison.
    const std::uint64_t up = (0x8000u - static_cast<std::uint64_t>(least)) * kOnes;
    for (std::size_t v = 0; v < n; v += 4) {
        std::uint64_t four;
        std::memcpy(&four, &degree[v], sizeof(four));
        for (std::uint64_t found = (four + up) & kTops; found != 0; found &= found - 1)
            visit(v + static_cast<std::size_t>(std::countr_zero(found)) / 16);
    }
}

// A clique of k + 1 needs more than k vertices of degree k, and k (k + 1) / 2 edges: the largest such k, at
// least 1.
int largest_possible_degree(const Degrees& degree, std::size_t n, std::int64_t edges) {
    int k = 1, above = kWordBits;
    while (above / 2 * (above / 2 + 1) > 2 * edges) above /= 2;
    while (above - k > 1) {
        const int middle = (k + above) / 2;
        (count_at_least(degree, n, middle) > middle ? k : above) = middle;
    }
    return k;
}

// The graph of those vertices that have enough neighbours, as rows of bits in their order.
class Core {
  public:
    // Of the vertices of the smallest degree from `least` on, up to `most`, of which there are no more than a
    // word holds. Returns that degree; one above `most` where there is none.
    int build(const EdgeList& list, const Degrees& degree, int least, int most) {
        const auto n = static_cast<std::size_t>(list.n);
        while (least <= most && count_at_least(degree, n, least) > kWordBits) ++least;
        if (least > most) return least;
        std::array<std::uint8_t, kVertices> slot;
        std::memset(slot.data(), kNone, n);
        count_ = 0;
        for_each_at_least(degree, n, least, [&](std::size_t v) {
            slot[v] = static_cast<std::uint8_t>(count_);
            names_[static_cast<std::size_t>(count_)] = static_cast<int>(v);
            degree_[static_cast<std::size_t>(count_)] = degree[v];
            rows_[static_cast<std::size_t>(count_)] = 0;
            ++count_;
        });
        const std::int32_t* const end = list.edges + 2 * list.count;
        for (const std::int32_t* e = list.edges; e != end;) {
            const std::int32_t u = *e;
            const std::uint8_t i = slot[static_cast<std::size_t>(u)];
            // Neighbours that were left out have a row of their own, which is never read, and no bit: no
            // branch would foretell them.
            Word row = 0;
            do {
                const std::uint8_t j = slot[static_cast<std::size_t>(e[1])];
                row |= bit(j);
                rows_[j] |= bit(i);
                e += 2;
            } while (e != end && *e == u);
            rows_[i] |= row;
        }
        return least;
    }

    // What is left of all vertices once none has fewer than `least` neighbours.
    Word peeled(int least) const {
        Word left = 0;
        for (int i = 0; i < count_; ++i)
            left |= static_cast<Word>(degree_[static_cast<std::size_t>(i)] >= least) << i;
        for (Word before = 0; before != left;) {
            before = left;
            for (Word rest = left; rest != 0; rest &= rest - 1) {
                const int v = std::countr_zero(rest);
                if (count_bits(rows_[static_cast<std::size_t>(v)] & left) < least) left &= ~(Word{1} << v);
            }
        }
        return left;
    }

    // The lexicographically smallest clique of `size` among the candidates: takes each vertex in ascending
    // order, then tries without it.
    bool find(Word candidates, int size, Word& members, std::int64_t& nodes_left) const {
        if (size == 0) return true;
        while (count_bits(candidates) >= size) {
            const int v = std::countr_zero(candidates);
            candidates &= candidates - 1;
            if (nodes_left-- == 0) return false;
            const Word both = candidates & rows_[static_cast<std::size_t>(v)];
            if (count_bits(both) < size - 1 || !find(both, size - 1, members, nodes_left)) {
                if (nodes_left < 0) return false;
                continue;
            }
            members |= Word{1} << v;
            return true;
        }
        return false;
    }

    std::vector<int> named(Word members) const {
        std::vector<int> names(static_cast<std::size_t>(count_bits(members)));
        for (int& name : names) {
            name = names_[static_cast<std::size_t>(std::countr_zero(members))];
            members &= members - 1;
        }
        return names;
    }

  private:
    static constexpr std::uint8_t kNone = kWordBits;
    // 0 for kNone.
    static Word bit(std::uint8_t i) { return static_cast<Word>(i < kNone) << (i & (kWordBits - 1)); }

    int count_ = 0;
    std::array<int, kWordBits> names_;
    std::array<std::int16_t, kWordBits> degree_;  // in the whole graph
    std::array<Word, kWordBits + 1> rows_;
};

}  // namespace

bool small_core_maximum(const EdgeList& list, std::int64_t node_limit, int min_size, Clique& answer) {
    if (list.n > static_cast<int>(kVertices) || list.count > kEdges || list.count == 0) return false;
    Degrees degree;
    if (!count_degrees(list, degree)) return false;
    const auto n = static_cast<std::size_t>(list.n);
    const int most = largest_possible_degree(degree, n, list.count);
    const int wanted = std::max(min_size - 1, 1);  // of each member: an edge is a clique of two
    if (most < wanted) {
        answer = {{}, 0, min_size - 1, true, 0};
        return true;
    }
    Core core;
    const int least = core.build(list, degree, wanted, most);
    // Vertices of large degree are few: where all of them peel away, as in most graphs, so do cliques of
    // their size.
    const std::int64_t nodes = std::min(node_limit, kNodes);
    std::int64_t nodes_left = nodes;
    for (int k = most; k >= least; --k) {
        const Word left = core.peeled(k);
        const int count = count_bits(left);
        if (count <= k) continue;
        Word members = count == k + 1 ? left : 0;
        if (members == 0 && !core.find(left, k + 1, members, nodes_left)) {
            if (nodes_left < 0) return false;
            continue;
        }
        answer = {core.named(members), k + 1, k + 1, true, nodes - nodes_left};
        return true;
    }
    if (least > wanted) return false;
    answer = {{}, 0, min_size - 1, true, nodes - nodes_left};
    return true;
}

}  // namespace memcore::clique
