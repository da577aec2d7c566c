// AVX2: the portable loops, vectorised by the compiler, and a comparison in two halves.
#include <immintrin.h>

#include "block_bounds/contract.hpp"

namespace memcore::block_bounds {
namespace {

typedef float F32x16 __attribute__((vector_size(64)));

inline bool any_above(const F32x16& v, float limit) {
    __m256 half[2];
    __builtin_memcpy(half, &v, sizeof(half));
    const __m256 limits = _mm256_set1_ps(limit);
    return _mm256_movemask_ps(_mm256_or_ps(_mm256_cmp_ps(half[0], limits, _CMP_GT_OQ),
                                           _mm256_cmp_ps(half[1], limits, _CMP_GT_OQ))) != 0;
}

#include "block_bounds/column_sums.inl"
#include "block_bounds/common.inl"

}  // namespace

constinit const Kernels kernels_avx2{column_sums, fold, normalise, survivors, screen, likely_largest};

}  // namespace memcore::block_bounds
