// Plain C++.
#include "graph/contract.hpp"

namespace memcore::graph {
namespace {

typedef float F32x16 __attribute__((vector_size(64)));

inline bool any_above(const F32x16& v, float limit) {
    int above = 0;
    for (size_t lane = 0; lane < kLanes; ++lane) above |= v[lane] > limit;
    return above != 0;
}

#include "graph/bounds.inl"
#include "graph/column_sums.inl"

}  // namespace

constinit const Kernels kernels_scalar{
    .column_sums = column_sums,
    .fold = fold,
    .normalise = normalise,
    .survivors = survivors,
    .screen = screen,
    .certain = certain,
    .likely_largest = likely_largest,
};

}  // namespace memcore::graph
