#include <cstring>

#include "clique/contract.hpp"
#include "runtime/dispatch.hpp"

namespace memcore::clique {

const Kernels& active_kernels() {
    [[maybe_unused]] const Isa* const isa = active_isa();
#if MEMCORE_HAVE_AVX512VNNI
    if (isa != nullptr && std::strcmp(isa->name, "avx512vnni") == 0) return kernels_avx512vnni;
#endif
#if MEMCORE_HAVE_AVX2
    if (isa != nullptr && std::strcmp(isa->name, "avx2") == 0) return kernels_avx2;
#endif
    return kernels_scalar;
}

}  // namespace memcore::clique
