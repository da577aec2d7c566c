// The inner loop of the clique search, once per instruction set. Everything is integers and the order of work
// is fixed, so every variant gives the same members, the same bounds and the same number of nodes.
//
// Graphs are bit rows: row v holds bit u exactly where v and u are adjacent; rows are symmetric, bit v of row
// v is 0, and the bits from n up to the end of a row are 0.
#pragma once

#include <cstddef>
#include <cstdint>

namespace memcore::clique {

using Word = std::uint64_t;
constexpr int kWordBits = 64;

// `branch` takes at most this many vertices: 8 words a row. Larger graphs are split by their
// caller.
constexpr int kMaxBranchVertices = 512;

struct BranchTask {
    // Given. Bit order is colouring order: the vertices that should be coloured first (many neighbours) come
    // first.
    int n;                    // 1 .. kMaxBranchVertices
    int words;                // 1, 2, 4 or 8 words a row, at least n / 64
    const Word* rows;         // n * words
    bool recolour;            // spend time on better colourings: pays off on dense graphs
    int lower;                // only cliques larger than this are searched
    int stop_at;              // a clique of this size, > lower, ends the search
    std::int64_t node_limit;  // >= 0
    void* workspace;          // branch_workspace_bytes(n, words), aligned to 64 bytes

    // Answered.
    int* members;        // a buffer of n: a clique of `size` vertices, unsorted
    int size;            // 0 where no clique larger than `lower` was found
    int upper;           // no clique is larger; max(lower, size) if finished without reaching stop_at
    std::int64_t nodes;  // nodes entered, <= node_limit
    bool finished;       // false where node_limit cut the search short
};

// One class of vertices a colour (0 for none); per depth one candidate set and one list of (vertex, colour).
constexpr std::size_t branch_workspace_bytes(int n, int words) {
    const auto vertices = static_cast<std::size_t>(n);
    const auto row_bytes = static_cast<std::size_t>(words) * sizeof(Word);
    return (vertices + 1) * 2 * row_bytes + vertices * sizeof(int) +
           (vertices + 1) * vertices * 2 * sizeof(std::uint16_t);
}

// Largest clique by branch and bound; the bound is a greedy colouring of the candidates.
void branch(BranchTask& task);

}  // namespace memcore::clique
