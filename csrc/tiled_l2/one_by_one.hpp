// Pairs by direct differences, without panels.
#pragma once

#include <cstdint>

#include "tiled_l2/tiled_l2.hpp"

namespace memcore::tiled_l2 {

// As `pairwise` of images with themselves, for so few images that panels of 16 would be mostly empty.
template <class Sum>
void pairs_one_by_one(const Kernels& kernels, const Images& images, const Grid& grid, const Matrix<Sum>& out,
                      int threads);

}  // namespace memcore::tiled_l2
