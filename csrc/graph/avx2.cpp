// AVX2: column sums and squares of even and odd bytes in one pass, and a comparison in two halves. Bounds
// decide most pairs here; panels/avx2.cpp computes the integers that decide the others.
#include <immintrin.h>

#include "graph/contract.hpp"

namespace memcore::graph {
namespace {

// Sixteen lanes in two registers. A vector of 64 bytes would do, but GCC keeps those in memory here.
typedef float F32x8 __attribute__((vector_size(32)));
struct F32x16 {
    F32x8 half[2];
    float operator[](size_t lane) const { return half[lane / 8][lane % 8]; }
    void operator+=(const F32x16& other) {
        half[0] += other.half[0];
        half[1] += other.half[1];
    }
};
inline F32x16 operator+(const F32x16& a, const F32x16& b) {
    return {{a.half[0] + b.half[0], a.half[1] + b.half[1]}};
}
inline F32x16 operator-(const F32x16& a, const F32x16& b) {
    return {{a.half[0] - b.half[0], a.half[1] - b.half[1]}};
}
inline F32x16 operator*(const F32x16& a, const F32x16& b) {
    return {{a.half[0] * b.half[0], a.half[1] * b.half[1]}};
}

inline bool any_above(const F32x16& v, float limit) {
    const __m256 limits = _mm256_set1_ps(limit);
    return _mm256_movemask_ps(_mm256_or_ps(_mm256_cmp_ps(v.half[0], limits, _CMP_GT_OQ),
                                           _mm256_cmp_ps(v.half[1], limits, _CMP_GT_OQ))) != 0;
}

#include "graph/bounds.inl"

constexpr size_t kVector = 32;
// How far ahead of what is read, here a line of 512 pixels: 512, and 2,048 to 16,384, took longer.
constexpr size_t kPrefetchBytes = 1536;

inline __m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline void store(void* p, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }

// Adds 32 bytes, as 16 even and 16 odd ones. Their sums are side by side until all lines are added.
inline __m256i add_vector(__m256i bytes, uint16_t* columns, bool first, __m256i squares) {
    const __m256i even = _mm256_and_si256(bytes, _mm256_set1_epi16(0xff)), odd = _mm256_srli_epi16(bytes, 8);
    __m256i even_sum = even, odd_sum = odd;
    if (!first) {
        even_sum = _mm256_add_epi16(even, load(columns));
        odd_sum = _mm256_add_epi16(odd, load(columns + 16));
    }
    store(columns, even_sum);
    store(columns + 16, odd_sum);
    const __m256i both = _mm256_add_epi32(_mm256_madd_epi16(even, even), _mm256_madd_epi16(odd, odd));
    return _mm256_add_epi32(squares, both);
}

template <bool COPY>
inline __m256i add_line(const uint8_t* line, size_t bytes, uint16_t* columns, bool first, __m256i squares,
                        uint8_t* copy) {
    size_t k = 0;
    for (; k + kVector <= bytes; k += kVector) {
        if (k % 64 == 0) _mm_prefetch(reinterpret_cast<const char*>(line) + k + kPrefetchBytes, _MM_HINT_T0);
        const __m256i vector = load(line + k);
        if (COPY) _mm256_stream_si256(reinterpret_cast<__m256i*>(copy + k), vector);
        squares = add_vector(vector, columns + k, first, squares);
    }
    if (k < bytes) {
        uint8_t rest[kVector] = {};
        __builtin_memcpy(rest, line + k, bytes - k);
        squares = add_vector(load(rest), columns + k, first, squares);
    }
    return squares;
}

// Sums of even and odd bytes to one sum a byte, in order.
inline void to_columns(uint16_t* columns, size_t bytes, size_t column_stride) {
    size_t k = 0;
    for (; k < bytes; k += kVector) {
        const __m256i even = load(columns + k), odd = load(columns + k + 16);
        const __m256i low = _mm256_unpacklo_epi16(even, odd), high = _mm256_unpackhi_epi16(even, odd);
        store(columns + k, _mm256_permute2x128_si256(low, high, 0x20));
        store(columns + k + 16, _mm256_permute2x128_si256(low, high, 0x31));
    }
    for (; k < column_stride; k += kVector) {
        store(columns + k, _mm256_setzero_si256());
        store(columns + k + 16, _mm256_setzero_si256());
    }
}

inline uint32_t add_lanes(__m256i v) {
    uint32_t lane[8];
    store(lane, v);
    uint32_t sum = 0;
    for (uint32_t l : lane) sum += l;
    return sum;
}

void column_sums(const uint8_t* data, ptrdiff_t line_stride, size_t lines, size_t tiles, size_t line_bytes,
                 uint16_t* columns, size_t column_stride, uint32_t* squares, uint8_t* copy,
                 size_t copy_stride) {
    constexpr size_t kTilesAtOnce = 8;
    for (size_t begin = 0; begin < tiles; begin += kTilesAtOnce) {
        const size_t end = tiles - begin < kTilesAtOnce ? tiles : begin + kTilesAtOnce;
        __m256i sum[kTilesAtOnce];
        for (size_t t = 0; t < kTilesAtOnce; ++t) sum[t] = _mm256_setzero_si256();
        for (size_t l = 0; l < lines; ++l) {
            const uint8_t* line = data + static_cast<ptrdiff_t>(l) * line_stride;
            for (size_t t = begin; t < end; ++t) {
                const uint8_t* part = line + t * line_bytes;
                uint16_t* to = columns + t * column_stride;
                __m256i& squared = sum[t - begin];
                squared = copy == nullptr ? add_line<false>(part, line_bytes, to, l == 0, squared, nullptr)
                                          : add_line<true>(part, line_bytes, to, l == 0, squared,
                                                           copy + l * copy_stride + t * line_bytes);
            }
        }
        for (size_t t = begin; t < end; ++t) {
            to_columns(columns + t * column_stride, line_bytes, column_stride);
            squares[t] = add_lanes(sum[t - begin]);
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
        for (size_t i = 0; i < count; i += 16)
            store(columns + i, _mm256_add_epi16(load(columns + i), load(columns + i + step)));
    }
}

}  // namespace

constinit const Kernels kernels_avx2{
    .column_sums = column_sums,
    .fold = fold,
    .normalise = normalise,
    .survivors = survivors,
    .screen = screen,
    .certain = certain,
    .likely_largest = likely_largest,
};

}  // namespace memcore::graph
