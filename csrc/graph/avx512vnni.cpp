// AVX-512: column sums as 16-bit sums of even and odd bytes, squares by vpdpbusd in the same pass. Bounds
// decide most pairs here; panels/avx512vnni.cpp computes the integers that decide the others.
//
// GCC's own header leaves "undefined" operands uninitialised, and GCC 12 warns of them (its bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include "graph/contract.hpp"

namespace memcore::graph {
namespace {

typedef float F32x16 __attribute__((vector_size(64)));

inline bool any_above(const F32x16& v, float limit) {
    return _mm512_cmp_ps_mask(reinterpret_cast<const __m512&>(v), _mm512_set1_ps(limit), _CMP_GT_OQ) != 0;
}

#include "graph/bounds.inl"
#include "panels/sum_lanes_avx512.inl"

// How far ahead of the line being read. Into the second-level cache: a prefetch into the first was twice as
// slow.
constexpr size_t kPrefetchBytes = 12288;

// Sums of 16-bit words of two bytes, and of their upper bytes alone. Sums of lower bytes follow: they stay
// below 2^16, where words - 256 * upper is exact. One operation less for each vector than taking the bytes
// apart.
struct WordSums {
    __m512i words, upper;

    void add(__m512i bytes) {
        words = _mm512_add_epi16(words, bytes);
        upper = _mm512_add_epi16(upper, _mm512_srli_epi16(bytes, 8));
    }
};

// sum += x (x - 128), four bytes to an int32: the second operand of vpdpbusd is signed.
inline void add_shifted_squares(__m512i& sum, __m512i bytes) {
    const __m512i shifted = _mm512_xor_si512(bytes, _mm512_set1_epi8(static_cast<char>(0x80)));
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(bytes), "v"(shifted));
}

inline void add_vector(__m512i bytes, uint16_t* columns, bool first, __m512i& squares) {
    __asm__("" : "+v"(bytes));  // one load: GCC would read memory again for each use
    WordSums sums = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    if (!first) sums = {_mm512_load_si512(columns), _mm512_load_si512(columns + 32)};
    sums.add(bytes);
    add_shifted_squares(squares, bytes);
    _mm512_store_si512(columns, sums.words);
    _mm512_store_si512(columns + 32, sums.upper);
}

// One line of one tile, added to (or, the first time, stored as) word sums. One line at a time, so that
// memory is read in order: taking several lines at once saves loads of the sums, and costs more than that in
// waiting for memory.
template <bool COPY>
inline __m512i add_line(const uint8_t* line, size_t bytes, uint16_t* columns, bool first, __m512i squares,
                        uint8_t* copy) {
    size_t k = 0;
    for (; k + 64 <= bytes; k += 64) {
        _mm_prefetch(reinterpret_cast<const char*>(line) + k + kPrefetchBytes, _MM_HINT_T1);
        const __m512i vector = _mm512_loadu_si512(line + k);
        if (COPY) _mm512_stream_si512(reinterpret_cast<__m512i*>(copy + k), vector);
        add_vector(vector, columns + k, first, squares);
    }
    if (k < bytes) {
        const __mmask64 mask = ~0ULL >> (64 - (bytes - k));
        add_vector(_mm512_maskz_loadu_epi8(mask, line + k), columns + k, first, squares);
    }
    return squares;
}

// Word sums to one sum a byte, in order; returns the sum of all.
inline uint32_t to_columns(uint16_t* columns, size_t column_stride) {
    const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11),
                  high = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    const __m512i half = _mm512_set1_epi32(0xffff);
    __m512i total = _mm512_setzero_si512();
    for (size_t k = 0; k < column_stride; k += 64) {
        const __m512i odd = _mm512_load_si512(columns + k + 32);
        const __m512i even = _mm512_sub_epi16(_mm512_load_si512(columns + k), _mm512_slli_epi16(odd, 8));
        const __m512i a = _mm512_unpacklo_epi16(even, odd), b = _mm512_unpackhi_epi16(even, odd);
        _mm512_store_si512(columns + k, _mm512_permutex2var_epi64(a, low, b));
        _mm512_store_si512(columns + k + 32, _mm512_permutex2var_epi64(a, high, b));
        total = _mm512_add_epi32(total,
                                 _mm512_add_epi32(_mm512_and_si512(even, half), _mm512_srli_epi32(even, 16)));
        total = _mm512_add_epi32(total,
                                 _mm512_add_epi32(_mm512_and_si512(odd, half), _mm512_srli_epi32(odd, 16)));
    }
    return sum_lanes(total);
}

void column_sums(const uint8_t* data, ptrdiff_t line_stride, size_t lines, size_t tiles, size_t line_bytes,
                 uint16_t* columns, size_t column_stride, uint32_t* squares, uint8_t* copy,
                 size_t copy_stride) {
    constexpr size_t kTilesAtOnce = 8;
    for (size_t begin = 0; begin < tiles; begin += kTilesAtOnce) {
        const size_t end = tiles - begin < kTilesAtOnce ? tiles : begin + kTilesAtOnce;
        __m512i sum[kTilesAtOnce];
        for (size_t t = 0; t < kTilesAtOnce; ++t) sum[t] = _mm512_setzero_si512();
        for (size_t l = 0; l < lines; ++l) {
            const uint8_t* line = data + static_cast<ptrdiff_t>(l) * line_stride;
            for (size_t t = begin; t < end; ++t) {
                const uint8_t* part = line + t * line_bytes;
                uint16_t* to = columns + t * column_stride;
                __m512i& squared = sum[t - begin];
                squared = copy == nullptr ? add_line<false>(part, line_bytes, to, l == 0, squared, nullptr)
                                          : add_line<true>(part, line_bytes, to, l == 0, squared,
                                                           copy + l * copy_stride + t * line_bytes);
            }
        }
        for (size_t t = begin; t < end; ++t) {
            const uint32_t total = to_columns(columns + t * column_stride, column_stride);
            squares[t] = sum_lanes(sum[t - begin]) + 128U * total;
        }
    }
}

#include "graph/fold_rgb16.inl"

void fold(uint16_t* columns, size_t count, size_t channels, size_t width) {
    // Sums of lines must fit int16 to be multiplied: they do where sums of 16 fit uint16.
    if (channels == 3 && width == 16 && count % 48 == 0) {
        fold_rgb16(columns, count);
        return;
    }
    for (size_t step = channels * width / 2; step >= channels && width > 1; step /= 2) {
        for (size_t i = 0; i < count; i += 32) {
            const __m512i ahead = _mm512_loadu_si512(columns + i + step);
            _mm512_store_si512(columns + i, _mm512_add_epi16(_mm512_load_si512(columns + i), ahead));
        }
    }
}

}  // namespace

constinit const Kernels kernels_avx512vnni{
    .column_sums = column_sums,
    .fold = fold,
    .normalise = normalise,
    .survivors = survivors,
    .screen = screen,
    .certain = certain,
    .likely_largest = likely_largest,
};

}  // namespace memcore::graph
