// AVX-512: column sums as 16-bit sums of even and odd bytes, squares by vpdpbusd in the same pass.
// GCC's own header leaves "undefined" operands uninitialised, and GCC 12 warns of them (its bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include "block_bounds/contract.hpp"

namespace memcore::block_bounds {
namespace {

typedef float F32x16 __attribute__((vector_size(64)));

inline bool any_above(const F32x16& v, float limit) {
    return _mm512_cmp_ps_mask(reinterpret_cast<const __m512&>(v), _mm512_set1_ps(limit), _CMP_GT_OQ) != 0;
}

#include "block_bounds/common.inl"

constexpr size_t kPrefetchBytes = 6144;  // ahead of the line being read: about the latency of memory

inline __mmask64 tail_mask(size_t bytes) { return bytes >= 64 ? ~0ULL : ~0ULL >> (64 - bytes); }

struct EvenOdd {
    __m512i even, odd;

    void add(__m512i bytes) {
        even = _mm512_add_epi16(even, _mm512_and_si512(bytes, _mm512_set1_epi16(255)));
        odd = _mm512_add_epi16(odd, _mm512_srli_epi16(bytes, 8));
    }
};

// sum += x (x - 128), four bytes to an int32: the second operand of vpdpbusd is signed.
inline void add_shifted_squares(__m512i& sum, __m512i bytes) {
    const __m512i shifted = _mm512_xor_si512(bytes, _mm512_set1_epi8(static_cast<char>(0x80)));
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(bytes), "v"(shifted));
}

// LINES lines of one tile, added to (or, the first time, stored as) even and odd sums of 64 bytes each.
template <int LINES>
inline __m512i add_lines(const uint8_t* data, ptrdiff_t stride, size_t line_bytes, uint16_t* columns, bool first) {
    __m512i squares = _mm512_setzero_si512();
    for (size_t k = 0; k < line_bytes; k += 64) {
        const __mmask64 mask = tail_mask(line_bytes - k);
        EvenOdd sums = {_mm512_setzero_si512(), _mm512_setzero_si512()};
        if (!first) sums = {_mm512_load_si512(columns + k), _mm512_load_si512(columns + k + 32)};
#pragma GCC unroll 4
        for (int l = 0; l < LINES; ++l) {
            const uint8_t* from = data + l * stride + k;
            _mm_prefetch(reinterpret_cast<const char*>(from) + kPrefetchBytes, _MM_HINT_T0);
            const __m512i bytes = _mm512_maskz_loadu_epi8(mask, from);
            sums.add(bytes);
            add_shifted_squares(squares, bytes);
        }
        _mm512_store_si512(columns + k, sums.even);
        _mm512_store_si512(columns + k + 32, sums.odd);
    }
    return squares;
}

// Even and odd sums to their natural order; returns the sum of all.
inline uint32_t interleave(uint16_t* columns, size_t column_stride) {
    const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), high = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    __m512i total = _mm512_setzero_si512();
    for (size_t k = 0; k < column_stride; k += 64) {
        const __m512i even = _mm512_load_si512(columns + k), odd = _mm512_load_si512(columns + k + 32);
        const __m512i a = _mm512_unpacklo_epi16(even, odd), b = _mm512_unpackhi_epi16(even, odd);
        _mm512_store_si512(columns + k, _mm512_permutex2var_epi64(a, low, b));
        _mm512_store_si512(columns + k + 32, _mm512_permutex2var_epi64(a, high, b));
        const __m512i words = _mm512_set1_epi32(0xffff);
        total = _mm512_add_epi32(total, _mm512_add_epi32(_mm512_and_si512(even, words), _mm512_srli_epi32(even, 16)));
        total = _mm512_add_epi32(total, _mm512_add_epi32(_mm512_and_si512(odd, words), _mm512_srli_epi32(odd, 16)));
    }
    return static_cast<uint32_t>(_mm512_reduce_add_epi32(total));
}

void column_sums(const uint8_t* data, ptrdiff_t line_stride, size_t lines, size_t tiles, size_t line_bytes,
                 uint16_t* columns, size_t column_stride, uint32_t* squares) {
    constexpr size_t kTilesAtOnce = 8;
    for (size_t begin = 0; begin < tiles; begin += kTilesAtOnce) {
        const size_t end = tiles - begin < kTilesAtOnce ? tiles : begin + kTilesAtOnce;
        __m512i sum[kTilesAtOnce];
        for (size_t t = 0; t < kTilesAtOnce; ++t) sum[t] = _mm512_setzero_si512();
        size_t l = 0;
        for (; l + 4 <= lines; l += 4) {
            for (size_t t = begin; t < end; ++t) {
                const uint8_t* from = data + static_cast<ptrdiff_t>(l) * line_stride + t * line_bytes;
                sum[t - begin] = _mm512_add_epi32(
                    sum[t - begin], add_lines<4>(from, line_stride, line_bytes, columns + t * column_stride, l == 0));
            }
        }
        for (; l < lines; ++l) {
            for (size_t t = begin; t < end; ++t) {
                const uint8_t* from = data + static_cast<ptrdiff_t>(l) * line_stride + t * line_bytes;
                sum[t - begin] = _mm512_add_epi32(
                    sum[t - begin], add_lines<1>(from, line_stride, line_bytes, columns + t * column_stride, l == 0));
            }
        }
        for (size_t t = begin; t < end; ++t) {
            const uint32_t total = interleave(columns + t * column_stride, column_stride);
            squares[t] = static_cast<uint32_t>(_mm512_reduce_add_epi32(sum[t - begin])) + 128U * total;
        }
    }
}

void fold(uint16_t* columns, size_t count, size_t channels, size_t width) {
    for (size_t step = channels * width / 2; step >= channels && width > 1; step /= 2) {
        for (size_t i = 0; i < count; i += 32) {
            const __m512i ahead = _mm512_loadu_si512(columns + i + step);
            _mm512_store_si512(columns + i, _mm512_add_epi16(_mm512_load_si512(columns + i), ahead));
        }
    }
}

}  // namespace

constinit const Kernels kernels_avx512vnni{column_sums, fold, normalise, survivors, screen, likely_largest};

}  // namespace memcore::block_bounds
