// The search's inner loop for any machine.
#include "clique/contract.hpp"

namespace memcore::clique {
namespace {

#include "clique/branch.inl"

}  // namespace

const Kernels kernels_scalar{&branch, &degrees};

}  // namespace memcore::clique
