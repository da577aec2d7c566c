// AArch64: the portable loops, vectorised by the compiler.
#include <arm_neon.h>

#include "graph/contract.hpp"

namespace memcore::graph {
namespace {

typedef float F32x16 __attribute__((vector_size(64)));

inline bool any_above(const F32x16& v, float limit) {
    float32x4_t quarter[4];
    __builtin_memcpy(quarter, &v, sizeof(quarter));
    const float32x4_t largest =
        vmaxq_f32(vmaxq_f32(quarter[0], quarter[1]), vmaxq_f32(quarter[2], quarter[3]));
    return vmaxvq_f32(largest) > limit;
}

#include "graph/bounds.inl"
#include "graph/column_sums.inl"

}  // namespace

constinit const Kernels kernels_neon_dotprod{
    .column_sums = column_sums,
    .fold = fold,
    .normalise = normalise,
    .survivors = survivors,
    .screen = screen,
    .certain = certain,
    .likely_largest = likely_largest,
};

}  // namespace memcore::graph
