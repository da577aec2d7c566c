// AVX-512 VNNI: vpdpbusd on registers. GCC's own header leaves "undefined" operands uninitialised, and GCC 12
// warns of them (its bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include "panels/contract.hpp"

namespace memcore::panels {
namespace {

#include "panels/avx512.inl"
#include "panels/common.inl"

constexpr size_t kStepBytes = 4;
constexpr uint32_t kBias = 128;

void pack(const uint8_t* rows, size_t row_stride, size_t bytes, uint8_t* panel, uint8_t* /*row_layout*/,
          uint32_t* sums, uint32_t* squares) {
    pack_forms(rows, row_stride, bytes, panel, nullptr, sums, squares);
}

// ROWS x (16 * PANELS) sums in registers: at most 8 x 3 of them, 3 columns, the sign and one row make 29
// of 32. noinline and the unroll pragmas keep them there; tests/native/test_asm.py reads the disassembly.
template <int ROWS, int PANELS>
__attribute__((noinline)) void micro_kernel(const uint8_t* a, const uint8_t* b, size_t b_stride, size_t steps,
                                            uint32_t* c, size_t c_stride, bool add) {
    __m512i sum_i32x16[ROWS][PANELS];
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 3
        for (int p = 0; p < PANELS; ++p) {
            sum_i32x16[i][p] = _mm512_setzero_si512();
            _mm_prefetch(reinterpret_cast<const char*>(c + static_cast<size_t>(i) * c_stride + p * 16),
                         _MM_HINT_T0);
        }
    }
    const __m512i sign = sign_bits();
    for (size_t s = 0; s < steps; ++s) {
        __m512i column_i8x64[PANELS];
#pragma GCC unroll 3
        for (int p = 0; p < PANELS; ++p) {
            const uint8_t* column = b + static_cast<size_t>(p) * b_stride + s * kPanelStep;
            column_i8x64[p] = _mm512_xor_si512(_mm512_load_si512(column), sign);
        }
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; ++i) {
            int32_t four_bytes;
            __builtin_memcpy(&four_bytes, a + s * kPanelStep + i * 4, 4);
            const __m512i row_u8x64 = _mm512_set1_epi32(four_bytes);
#pragma GCC unroll 3
            for (int p = 0; p < PANELS; ++p) MEMCORE_DPBUSD(sum_i32x16[i][p], row_u8x64, column_i8x64[p]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 3
        for (int p = 0; p < PANELS; ++p) {
            uint32_t* out = c + static_cast<size_t>(i) * c_stride + p * 16;
            const __m512i sum = sum_i32x16[i][p];
            _mm512_storeu_si512(out, add ? _mm512_add_epi32(_mm512_loadu_si512(out), sum) : sum);
        }
    }
}

template <int ROWS>
inline void rows_by_panels(int panels, const uint8_t* a, const uint8_t* b, size_t b_stride, size_t steps,
                           uint32_t* c, size_t c_stride, bool add) {
    switch (panels) {
        case 1:
            return micro_kernel<ROWS, 1>(a, b, b_stride, steps, c, c_stride, add);
        case 2:
            return micro_kernel<ROWS, 2>(a, b, b_stride, steps, c, c_stride, add);
        default:
            return micro_kernel<ROWS, 3>(a, b, b_stride, steps, c, c_stride, add);
    }
}

void dot(const uint8_t* a, size_t a_stride, int rows, const uint8_t* b, size_t b_stride, int panels,
         size_t steps, uint32_t* c, size_t c_stride, bool add) {
    for (int p = 0; p < panels; p += 3) {
        const int width = panels - p < 3 ? panels - p : 3;
        const uint8_t* columns = b + static_cast<size_t>(p) * b_stride;
        for (int i = 0; i < rows;) {
            uint32_t* out = c + static_cast<size_t>(i) * c_stride + p * 16;
            const uint8_t* row = panel_row(a, a_stride, i);
            if (rows - i >= 8) {
                rows_by_panels<8>(width, row, columns, b_stride, steps, out, c_stride, add);
                i += 8;
            } else {
                rows_by_panels<4>(width, row, columns, b_stride, steps, out, c_stride, add);
                i += 4;
            }
        }
    }
}

uint64_t peak_products(uint64_t iterations) {
    __m512i sum[24];
#pragma GCC unroll 24
    for (int i = 0; i < 24; ++i) sum[i] = _mm512_setzero_si512();
    const __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
    for (uint64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 24
        for (int i = 0; i < 24; ++i) __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(sum[i]) : "v"(a), "v"(b));
    }
    return iterations * 24 * 64;
}

}  // namespace

constinit const Kernels kernels_avx512vnni{
    .step_bytes = kStepBytes,
    .row_panels = 1,
    .column_panels = 3,
    .separate_row_layout = false,
    .chunk_bytes = 1536,
    .panel_bytes = 8UL << 20,
    .bias = kBias,
    .dot_ns = 4.0F,
    .pair_ns = 40.0F,
    .enter = nullptr,
    .leave = nullptr,
    .pack = pack,
    .dot = dot,
    .max_ssd = max_ssd,
    .select_ssd = select_ssd,
    .pair_ssd = pair_ssd,
    .float_ssd = float_ssd,
    .peak_products = peak_products,
    .read_bytes = read_bytes,
};

}  // namespace memcore::panels
