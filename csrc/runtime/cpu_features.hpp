// What this CPU and this operating system can run. The only reader of CPUID and XCR0.
#pragma once

namespace memcore {

struct CpuFeatures {
    bool avx2 = false;        // AVX2 and FMA, and the system saves the YMM registers
    bool avx512vnni = false;  // AVX-512 F, BW, VL, DQ, VNNI, and the system saves the ZMM registers
    bool amxint8 = false;  // the above and AMX TILE and INT8, and the system lets this process use the tiles
    bool neon_dotprod = false;  // AArch64 UDOT/SDOT
};

const CpuFeatures& cpu_features();

}  // namespace memcore
