#include "dispatch/cpu_features.hpp"

#if defined(__x86_64__)
#include <cpuid.h>

#include <cstdint>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace memcore {
namespace {

#if defined(__x86_64__)

constexpr bool has_bit(std::uint32_t word, int bit) { return (word >> bit) & 1U; }

// Linux gives the tiles' 8 KB only to processes that request them, and refuses where a signal stack of the
// process is too small for them. Other systems have no such request, so the answer is no.
bool tiles_permitted() {
#if defined(__linux__) && defined(SYS_arch_prctl)
    constexpr long kRequestPermission = 0x1023, kTileData = 18;
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
    return false;
#endif
}

CpuFeatures detect() {
    CpuFeatures found;
    std::uint32_t a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return found;
    const bool fma = has_bit(c, 12), osxsave = has_bit(c, 27), avx = has_bit(c, 28);
    if (!osxsave || !avx) return found;

    // CPUID says what the silicon has; XCR0 says which registers the system saves on a context switch.
    std::uint32_t xcr0 = 0, high = 0;
    __asm__ volatile("xgetbv" : "=a"(xcr0), "=d"(high) : "c"(0));
    constexpr std::uint32_t kYmm = 0x06, kZmm = 0xE6, kTiles = 0x60000;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return found;
    found.avx2 = (xcr0 & kYmm) == kYmm && fma && has_bit(b, 5);
    const bool avx512 = has_bit(b, 16) && has_bit(b, 17) && has_bit(b, 30) && has_bit(b, 31);  // F DQ BW VL
    found.avx512vnni = found.avx2 && (xcr0 & kZmm) == kZmm && avx512 && has_bit(c, 11);
    const bool amx = has_bit(d, 24) && has_bit(d, 25);  // TILE INT8
    found.amxint8 = found.avx512vnni && amx && (xcr0 & kTiles) == kTiles && tiles_permitted();
    return found;
}

#elif defined(__aarch64__) && defined(__linux__)

CpuFeatures detect() {
    CpuFeatures found;
    constexpr unsigned long kAsimdDotProduct = 1UL << 20;  // HWCAP_ASIMDDP
    found.neon_dotprod = (getauxval(AT_HWCAP) & kAsimdDotProduct) != 0;
    return found;
}

#elif defined(__APPLE__) && defined(__aarch64__)

CpuFeatures detect() {
    CpuFeatures found;
    int value = 0;
    size_t size = sizeof(value);
    found.neon_dotprod =
        sysctlbyname("hw.optional.arm.FEAT_DotProd", &value, &size, nullptr, 0) == 0 && value;
    return found;
}

#else

CpuFeatures detect() { return {}; }

#endif

}  // namespace

const CpuFeatures& cpu_features() {
    static const CpuFeatures features = detect();
    return features;
}

}  // namespace memcore
