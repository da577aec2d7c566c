// What the units of AVX-512 with VNNI share, included inside their anonymous namespaces: packing, single
// pairs and a plain read. vpdpbusd multiplies unsigned by signed bytes and adds four products to an int32,
// without saturation. No include guard and no std:: on purpose.

#include "panels/sum_lanes_avx512.inl"

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

// Either form may be absent.
inline __attribute__((always_inline)) void pack_forms(const uint8_t* rows, size_t row_stride, size_t bytes,
                                                      uint8_t* panel, uint8_t* row_layout, uint32_t* sums,
                                                      uint32_t* squares) {
    const __m512i ones_i8x64 = _mm512_set1_epi8(1), sign = sign_bits();
    __m512i sum_u32x16 = _mm512_setzero_si512(), shifted_i32x16 = _mm512_setzero_si512();
    for (size_t k = 0; k < bytes; k += kPackBlock) {
        __m512i r[16];
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) r[i] = _mm512_load_si512(rows + static_cast<size_t>(i) * row_stride + k);
        if (row_layout != nullptr) {
#pragma GCC unroll 16
            for (int i = 0; i < 16; ++i) _mm512_store_si512(row_layout + k * kPanelImages + i * 64, r[i]);
        }
        transpose(r);
#pragma GCC unroll 16
        for (int s = 0; s < 16; ++s) {
            if (panel != nullptr) _mm512_store_si512(panel + k * kPanelImages + s * 64, r[s]);
            MEMCORE_DPBUSD(sum_u32x16, r[s], ones_i8x64);
            MEMCORE_DPBUSD(shifted_i32x16, r[s], _mm512_xor_si512(r[s], sign));
        }
    }
    // shifted = sum x (x - 128), so sum x^2 = shifted + 128 sum x.
    const __m512i square = _mm512_add_epi32(shifted_i32x16, _mm512_slli_epi32(sum_u32x16, 7));
    _mm512_storeu_si512(sums, _mm512_add_epi32(_mm512_loadu_si512(sums), sum_u32x16));
    _mm512_storeu_si512(squares, _mm512_add_epi32(_mm512_loadu_si512(squares), square));
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
    return sum_lanes(total);
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
