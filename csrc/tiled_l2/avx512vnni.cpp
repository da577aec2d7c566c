// AVX-512 VNNI: vpdpbusd multiplies unsigned by signed bytes and adds four products to an int32, without
// saturation. GCC's own header leaves "undefined" operands uninitialised, and GCC 12 warns of them (its bug
// 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include "tiled_l2/contract.hpp"

namespace memcore::tiled_l2 {
namespace {

#include "tiled_l2/common.inl"

constexpr size_t kStepBytes = 4;
constexpr uint32_t kBias = 128;

// GCC 12 spills the accumulators around _mm512_dpbusd_epi32 (80 instead of 209 GMAC/s): the instruction is
// written out.
#define MEMCORE_DPBUSD(sum_i32x16, a_u8x64, b_i8x64) \
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum_i32x16) : "v"(a_u8x64), "v"(b_i8x64))

inline __m512i sign_bits() { return _mm512_set1_epi8(static_cast<char>(0x80)); }

// Transposes a 16 x 16 matrix of int32 in place.
inline __attribute__((always_inline)) void transpose(__m512i r[16]) {
    __m512i t[16];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        r[4 * i + 0] = _mm512_unpacklo_epi64(t[4 * i + 0], t[4 * i + 2]);
        r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i + 0], t[4 * i + 2]);
        r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
        r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

void pack(const uint8_t* rows, size_t row_stride, size_t bytes, uint8_t* panel, uint32_t* sums,
          uint32_t* squares) {
    const __m512i ones_i8x64 = _mm512_set1_epi8(1), sign = sign_bits();
    __m512i sum_u32x16 = _mm512_setzero_si512(), shifted_i32x16 = _mm512_setzero_si512();
    for (size_t k = 0; k < bytes; k += kPackBlock) {
        __m512i r[16];
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) r[i] = _mm512_load_si512(rows + static_cast<size_t>(i) * row_stride + k);
        transpose(r);
        const size_t left = (bytes - k + kStepBytes - 1) / kStepBytes;
        const int steps = left < 16 ? static_cast<int>(left) : 16;
        uint8_t* out = panel + k / kStepBytes * kPanelStep;
        if (__builtin_expect(steps == 16, 1)) {
#pragma GCC unroll 16
            for (int s = 0; s < 16; ++s) {
                _mm512_store_si512(out + s * 64, r[s]);
                MEMCORE_DPBUSD(sum_u32x16, r[s], ones_i8x64);
                MEMCORE_DPBUSD(shifted_i32x16, r[s], _mm512_xor_si512(r[s], sign));
            }
        } else {
            for (int s = 0; s < steps; ++s) {
                _mm512_store_si512(out + s * 64, r[s]);
                MEMCORE_DPBUSD(sum_u32x16, r[s], ones_i8x64);
                MEMCORE_DPBUSD(shifted_i32x16, r[s], _mm512_xor_si512(r[s], sign));
            }
        }
    }
    // shifted = sum x (x - 128), so sum x^2 = shifted + 128 sum x.
    const __m512i square = _mm512_add_epi32(shifted_i32x16, _mm512_slli_epi32(sum_u32x16, 7));
    _mm512_storeu_si512(sums, _mm512_add_epi32(_mm512_loadu_si512(sums), sum_u32x16));
    _mm512_storeu_si512(squares, _mm512_add_epi32(_mm512_loadu_si512(squares), square));
}

// ROWS x (16 * PANELS) sums in registers: at most 8 x 3 of them, 3 columns, the sign and one row make 29
// of 32. noinline and the unroll pragmas keep them there; tests/test_native_asm.py reads the disassembly.
template <int ROWS, int PANELS>
__attribute__((noinline)) void micro_kernel(const uint8_t* a, const uint8_t* b, size_t b_stride, size_t steps,
                                            uint32_t* c, size_t c_stride) {
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
            _mm512_storeu_si512(out, _mm512_add_epi32(_mm512_loadu_si512(out), sum_i32x16[i][p]));
        }
    }
}

template <int ROWS>
inline void rows_by_panels(int panels, const uint8_t* a, const uint8_t* b, size_t b_stride, size_t steps,
                           uint32_t* c, size_t c_stride) {
    switch (panels) {
        case 1:
            return micro_kernel<ROWS, 1>(a, b, b_stride, steps, c, c_stride);
        case 2:
            return micro_kernel<ROWS, 2>(a, b, b_stride, steps, c, c_stride);
        default:
            return micro_kernel<ROWS, 3>(a, b, b_stride, steps, c, c_stride);
    }
}

void dot(const uint8_t* a, int row_begin, int row_end, const uint8_t* b, size_t b_stride, int panels,
         size_t steps, uint32_t* c, size_t c_stride) {
    for (int p = 0; p < panels; p += 3) {
        const int width = panels - p < 3 ? panels - p : 3;
        const uint8_t* columns = b + static_cast<size_t>(p) * b_stride;
        for (int i = row_begin; i < row_end;) {
            uint32_t* out = c + static_cast<size_t>(i - row_begin) * c_stride + p * 16;
            if (row_end - i >= 8) {
                rows_by_panels<8>(width, a + i * 4, columns, b_stride, steps, out, c_stride);
                i += 8;
            } else {
                rows_by_panels<4>(width, a + i * 4, columns, b_stride, steps, out, c_stride);
                i += 4;
            }
        }
    }
}

// |x - y| as unsigned bytes d, then d * (d - 128) + 128 d. The second operand of vpdpbusd is signed.
inline void add_pair(__m512i x, __m512i y, __m512i& shifted, __m512i& sum) {
    const __m512i d = _mm512_or_si512(_mm512_subs_epu8(x, y), _mm512_subs_epu8(y, x));
    MEMCORE_DPBUSD(shifted, d, _mm512_xor_si512(d, sign_bits()));
    MEMCORE_DPBUSD(sum, d, _mm512_set1_epi8(1));
}

uint32_t pair_ssd(const uint8_t* x, ptrdiff_t x_stride, const uint8_t* y, ptrdiff_t y_stride, size_t lines,
                  size_t bytes) {
    __m512i shifted[2] = {}, sum[2] = {};
    for (size_t l = 0; l < lines; ++l, x += x_stride, y += y_stride) {
        size_t k = 0;
        for (; k + 128 <= bytes; k += 128) {
            add_pair(_mm512_loadu_si512(x + k), _mm512_loadu_si512(y + k), shifted[0], sum[0]);
            add_pair(_mm512_loadu_si512(x + k + 64), _mm512_loadu_si512(y + k + 64), shifted[1], sum[1]);
        }
        for (; k < bytes; k += 64) {
            const __mmask64 mask = bytes - k >= 64 ? ~0ULL : ~0ULL >> (64 - (bytes - k));
            add_pair(_mm512_maskz_loadu_epi8(mask, x + k), _mm512_maskz_loadu_epi8(mask, y + k), shifted[0],
                     sum[0]);
        }
    }
    const __m512i s = _mm512_add_epi32(sum[0], sum[1]);
    const __m512i total = _mm512_add_epi32(_mm512_add_epi32(shifted[0], shifted[1]), _mm512_slli_epi32(s, 7));
    return static_cast<uint32_t>(_mm512_reduce_add_epi32(total));
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

uint64_t read_bytes(const uint8_t* data, size_t bytes) {
    __m512i sum[4] = {};
    for (size_t i = 0; i + 256 <= bytes; i += 256) {
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) sum[v] = _mm512_add_epi64(sum[v], _mm512_loadu_si512(data + i + v * 64));
    }
    const __m512i total =
        _mm512_add_epi64(_mm512_add_epi64(sum[0], sum[1]), _mm512_add_epi64(sum[2], sum[3]));
    return static_cast<uint64_t>(_mm512_reduce_add_epi64(total));
}

}  // namespace

constinit const Kernels kernels_avx512vnni{
    kStepBytes, 3,          kBias,    5.0F,      180.0F,        pack,      dot,
    max_ssd,    select_ssd, pair_ssd, float_ssd, peak_products, read_bytes};

}  // namespace memcore::tiled_l2
