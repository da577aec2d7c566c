// Dense tiled l2: the largest tile's ssd of every pair of images.
#pragma once

#include <cstddef>
#include <cstdint>

#include "panels/contract.hpp"
#include "panels/images.hpp"

namespace memcore::tiled_l2 {

using panels::Grid;
using panels::Images;
using panels::Kernels;

// (batches, rows, columns), contiguous. Sum is uint32_t for tiles of at most kMaxBytes32 bytes, uint64_t for
// any.
template <class Sum>
struct Matrix {
    Sum* data;
    std::size_t rows, columns;
    Sum* row(std::size_t batch, std::size_t i) const { return data + (batch * rows + i) * columns; }
};

// out[b][i][j] = max over tiles of ssd(a[b][i], other[b][j]). Without `other`, a with itself: symmetric,
// computed once; then only j >= i is defined unless `mirrored`.
template <class Sum>
void pairwise(const Kernels& kernels, Images a, const Images* other, Grid grid, Matrix<Sum> out, int threads,
              bool mirrored = true);

// ssd of one tile of images i and j of batch 0, by direct differences. Stops early once it exceeds `limit`:
// an answer above the limit may be too small.
std::uint64_t tile_ssd(const Kernels& kernels, const Images& images, std::size_t i, std::size_t j,
                       const Grid& grid, std::size_t tile_row, std::size_t tile_column, std::uint64_t limit);

}  // namespace memcore::tiled_l2
