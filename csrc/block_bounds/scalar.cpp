// Plain C++.
#include "block_bounds/contract.hpp"

namespace memcore::block_bounds {
namespace {

typedef float F32x16 __attribute__((vector_size(64)));

inline bool any_above(const F32x16& v, float limit) {
    int above = 0;
    for (size_t lane = 0; lane < kLanes; ++lane) above |= v[lane] > limit;
    return above != 0;
}

#include "block_bounds/column_sums.inl"
#include "block_bounds/common.inl"

}  // namespace

constinit const Kernels kernels_scalar{column_sums, fold,    normalise,     survivors,
                                       screen,      certain, likely_largest};

}  // namespace memcore::block_bounds
