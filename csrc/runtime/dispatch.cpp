#include "runtime/dispatch.hpp"

#include <cstdlib>
#include <string>

#include "runtime/cpu_features.hpp"

namespace memcore {
namespace {

constexpr Isa kScalar{"scalar", &tiled_l2::kernels_scalar, &block_bounds::kernels_scalar};
#if MEMCORE_HAVE_AVX2
constexpr Isa kAvx2{"avx2", &tiled_l2::kernels_avx2, &block_bounds::kernels_avx2};
#endif
#if MEMCORE_HAVE_AVX512VNNI
constexpr Isa kAvx512vnni{"avx512vnni", &tiled_l2::kernels_avx512vnni, &block_bounds::kernels_avx512vnni};
#endif
#if MEMCORE_HAVE_AMXINT8
// Bounds need no products of matrices.
constexpr Isa kAmxint8{"amxint8", &tiled_l2::kernels_amxint8, &block_bounds::kernels_avx512vnni};
#endif
#if MEMCORE_HAVE_NEON_DOTPROD
constexpr Isa kNeonDotprod{"neon_dotprod", &tiled_l2::kernels_neon_dotprod,
                           &block_bounds::kernels_neon_dotprod};
#endif

struct Available {
    const Isa* isas[5] = {};
    std::size_t count = 0;

    Available() {
        isas[count++] = &kScalar;
        [[maybe_unused]] const CpuFeatures& cpu = cpu_features();
#if MEMCORE_HAVE_AVX2
        if (cpu.avx2) isas[count++] = &kAvx2;
#endif
#if MEMCORE_HAVE_AVX512VNNI
        if (cpu.avx512vnni) isas[count++] = &kAvx512vnni;
#endif
#if MEMCORE_HAVE_AMXINT8
        if (cpu.amxint8) isas[count++] = &kAmxint8;
#endif
#if MEMCORE_HAVE_NEON_DOTPROD
        if (cpu.neon_dotprod) isas[count++] = &kNeonDotprod;
#endif
    }
};

thread_local const Isa* override_of_thread = nullptr;

}  // namespace

std::span<const Isa* const> available_isas() {
    static const Available available;
    return {available.isas, available.count};
}

const Isa* find_isa(std::string_view name) {
    for (const Isa* isa : available_isas()) {
        if (name == isa->name) return isa;
    }
    return nullptr;
}

std::string_view requested_isa() {
    static const std::string value = [] {
        const char* text = std::getenv("MEMCORE_ISA");
        return std::string(text == nullptr ? "" : text);
    }();
    return value;
}

const Isa* active_isa() {
    if (override_of_thread != nullptr) return override_of_thread;
    static const Isa* const process_wide =
        requested_isa().empty() ? available_isas().back() : find_isa(requested_isa());
    return process_wide;
}

void set_isa_override(const Isa* isa) { override_of_thread = isa; }

const Isa* isa_override() { return override_of_thread; }

}  // namespace memcore
