// The search's inner loop compiled for AVX2: a row of 256 vertices is one register.
#include "clique/contract.hpp"

namespace memcore::clique {
namespace {

#include "clique/branch.inl"

}  // namespace

const Kernels kernels_avx2{&branch, &degrees};

}  // namespace memcore::clique
