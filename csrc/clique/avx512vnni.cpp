// The search's inner loop compiled for AVX-512: a row of 512 vertices is one register.
#include "clique/contract.hpp"

namespace memcore::clique {
namespace {

#include "clique/branch.inl"

}  // namespace

const Kernels kernels_avx512vnni{&branch, &degrees};

}  // namespace memcore::clique
