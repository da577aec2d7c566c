// Exact k nearest rows by ssd, with the selection fused into the products: no Q x N matrix is ever made.
#pragma once

#include <cstddef>
#include <cstdint>

#include "panels/contract.hpp"

namespace memcore::knn {

// `count` rows of `dimension` bytes, `stride` bytes apart.
struct Rows {
    const std::uint8_t* data;
    std::size_t count;
    std::ptrdiff_t stride;
};

// The result of earlier parts of a corpus: the first `have` of the k slots of each query are filled,
// ascending, and those parts had `rows` rows. The rows of the next part are numbered from there.
struct Before {
    std::size_t have = 0;
    std::int64_t rows = 0;
};

// ssd[q][r] and index[q][r], r < k: the k smallest (ssd, index) of query q over this part of the corpus and
// those before, ascending. Where there are not yet k rows, the first have + corpus.count slots are written.
// Sum is uint32_t for dimension <= kMaxBytes32, else uint64_t.
template <class Sum>
void search(const panels::Kernels& kernels, Rows queries, Rows corpus, std::size_t dimension, std::size_t k,
            Sum* ssd, std::int64_t* index, int threads, Before before = {});

}  // namespace memcore::knn
