// Sets of vertices as arrays of 64-bit words, and graphs as rows of such sets. The loops that decide the
// speed of a search are not here but in branch.inl.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <utility>
#include <vector>

#include "clique/branch.hpp"

namespace memcore::clique {

#if defined(__POPCNT__) || !defined(__x86_64__)
inline int count_bits(Word w) { return std::popcount(w); }
#else
// Without the instruction, which not every x86-64 has, std::popcount is a call to a function that looks bytes
// up.
inline int count_bits(Word w) {
    w = w - (w >> 1 & 0x5555555555555555u);
    w = (w & 0x3333333333333333u) + (w >> 2 & 0x3333333333333333u);
    return static_cast<int>(((w + (w >> 4)) & 0x0f0f0f0f0f0f0f0fu) * 0x0101010101010101u >> 56);
}
#endif

inline std::size_t words_for(int n) { return (static_cast<std::size_t>(n) + kWordBits - 1) / kWordBits; }

// A set of vertices 0 .. n-1.
class BitSet {
  public:
    BitSet() = default;
    explicit BitSet(std::size_t words) : words_(words) {}

    void set(int v) { words_[word(v)] |= mask(v); }
    void clear(int v) { words_[word(v)] &= ~mask(v); }
    bool test(int v) const { return (words_[word(v)] & mask(v)) != 0; }

    bool empty() const {
        return std::all_of(words_.begin(), words_.end(), [](Word w) { return w == 0; });
    }
    int count() const {
        int total = 0;
        for (const Word w : words_) total += count_bits(w);
        return total;
    }
    // The smallest member; the set must not be empty.
    int first() const {
        std::size_t i = 0;
        while (words_[i] == 0) ++i;
        return static_cast<int>(i) * kWordBits + std::countr_zero(words_[i]);
    }
    void intersect(const Word* other) {
        for (std::size_t i = 0; i < words_.size(); ++i) words_[i] &= other[i];
    }

    Word* data() { return words_.data(); }
    const Word* data() const { return words_.data(); }
    std::size_t words() const { return words_.size(); }

  private:
    static std::size_t word(int v) { return static_cast<std::size_t>(v) / kWordBits; }
    static Word mask(int v) { return Word{1} << (v % kWordBits); }

    std::vector<Word> words_;
};

// Calls visit(v) for each member, ascending. `visit` must not change the set.
template <class Visit>
void for_each_bit(const Word* set, std::size_t words, Visit&& visit) {
    for (std::size_t i = 0; i < words; ++i) {
        for (Word w = set[i]; w != 0; w &= w - 1)
            visit(static_cast<int>(i) * kWordBits + std::countr_zero(w));
    }
}

inline std::vector<int> list_members(const BitSet& set) {
    std::vector<int> members;
    for_each_bit(set.data(), set.words(), [&](int v) { members.push_back(v); });
    return members;
}

// A graph on few enough vertices for n * n bits.
class BitGraph {
  public:
    explicit BitGraph(int n) : BitGraph(n, words_for(n)) {}
    BitGraph(int n, std::size_t words) : n_(n), words_(words), rows_(static_cast<std::size_t>(n) * words) {}

    // Half an edge: the caller adds (v, u) too.
    void add_arc(int u, int v) {
        rows_[static_cast<std::size_t>(u) * words_ + static_cast<std::size_t>(v) / kWordBits] |=
            Word{1} << (v % kWordBits);
    }
    bool adjacent(int u, int v) const { return (row(u)[v / kWordBits] >> (v % kWordBits) & 1) != 0; }

    int n() const { return n_; }
    std::size_t words() const { return words_; }
    const Word* row(int v) const { return rows_.data() + static_cast<std::size_t>(v) * words_; }
    const Word* rows() const { return rows_.data(); }

  private:
    int n_;
    std::size_t words_;
    std::vector<Word> rows_;
};

}  // namespace memcore::clique
