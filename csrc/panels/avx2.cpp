// AVX2: bytes widened to int16 and multiplied by vpmaddwd, which adds two exact products to an int32.
// (vpmaddubsw would take bytes, but it saturates.)
#include <immintrin.h>

#include "panels/contract.hpp"

namespace memcore::panels {
namespace {

#include "panels/common.inl"

constexpr size_t kStepBytes = 2;
constexpr size_t kBlockSteps =
    192;  // of a row panel and a column panel: 24 KB, which the first-level cache holds

inline __m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline void store(void* p, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }

// Transposes the 8 x 8 matrices of 16-bit elements in both halves of r[0..7].
inline void transpose_halves(__m256i r[8]) {
    __m256i a[8], b[8];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        a[2 * i] = _mm256_unpacklo_epi16(r[2 * i], r[2 * i + 1]);
        a[2 * i + 1] = _mm256_unpackhi_epi16(r[2 * i], r[2 * i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
        b[4 * i + 0] = _mm256_unpacklo_epi32(a[4 * i], a[4 * i + 2]);
        b[4 * i + 1] = _mm256_unpackhi_epi32(a[4 * i], a[4 * i + 2]);
        b[4 * i + 2] = _mm256_unpacklo_epi32(a[4 * i + 1], a[4 * i + 3]);
        b[4 * i + 3] = _mm256_unpackhi_epi32(a[4 * i + 1], a[4 * i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        r[2 * i] = _mm256_unpacklo_epi64(b[i], b[i + 4]);
        r[2 * i + 1] = _mm256_unpackhi_epi64(b[i], b[i + 4]);
    }
}

struct Stats {
    __m256i sum[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    __m256i square[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};

    void add(int half, __m256i pairs_u16x16) {
        sum[half] = _mm256_add_epi32(sum[half], _mm256_madd_epi16(pairs_u16x16, _mm256_set1_epi16(1)));
        square[half] = _mm256_add_epi32(square[half], _mm256_madd_epi16(pairs_u16x16, pairs_u16x16));
    }
};

// One step: the byte pairs of 16 images, widened.
inline void put_step(__m256i pairs_u8x32, uint8_t* out, Stats& stats) {
    const __m256i low = _mm256_cvtepu8_epi16(_mm256_castsi256_si128(pairs_u8x32));
    const __m256i high = _mm256_cvtepu8_epi16(_mm256_extracti128_si256(pairs_u8x32, 1));
    store(out, low);
    store(out + 32, high);
    stats.add(0, low);
    stats.add(1, high);
}

void pack(const uint8_t* rows, size_t row_stride, size_t bytes, uint8_t* panel, uint8_t* /*row_layout*/,
          uint32_t* sums, uint32_t* squares) {
    Stats stats;
    const size_t end = (bytes + kPackBlock - 1) / kPackBlock * kPackBlock;
    for (size_t k = 0; k < end; k += 32) {
        __m256i upper[8], lower[8];
        for (int i = 0; i < 8; ++i) {
            upper[i] = load(rows + static_cast<size_t>(i) * row_stride + k);
            lower[i] = load(rows + static_cast<size_t>(i + 8) * row_stride + k);
        }
        transpose_halves(upper);
        transpose_halves(lower);
        uint8_t* out = panel + k / kStepBytes * kPanelStep;
        for (size_t s = 0; s < 8; ++s) {
            put_step(_mm256_permute2x128_si256(upper[s], lower[s], 0x20), out + s * kPanelStep, stats);
        }
        for (size_t s = 8; s < 16; ++s) {
            put_step(_mm256_permute2x128_si256(upper[s - 8], lower[s - 8], 0x31), out + s * kPanelStep,
                     stats);
        }
    }
    for (int half = 0; half < 2; ++half) {
        store(sums + half * 8, _mm256_add_epi32(load(sums + half * 8), stats.sum[half]));
        store(squares + half * 8, _mm256_add_epi32(load(squares + half * 8), stats.square[half]));
    }
}

// Adds one step of 4 rows x 16 columns.
inline __attribute__((always_inline)) void add_step(const uint8_t* a, const uint8_t* b,
                                                    __m256i sum_i32x8[4][2]) {
    const __m256i column0 = load(b), column1 = load(b + 32);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        int32_t pair;
        __builtin_memcpy(&pair, a + i * 4, 4);
        const __m256i row = _mm256_set1_epi32(pair);
        sum_i32x8[i][0] = _mm256_add_epi32(sum_i32x8[i][0], _mm256_madd_epi16(row, column0));
        sum_i32x8[i][1] = _mm256_add_epi32(sum_i32x8[i][1], _mm256_madd_epi16(row, column1));
        // Rows in this order: GCC would fetch those of the steps to come first, and spill the sums for them.
        __asm__("" : "+x"(sum_i32x8[i][0]), "+x"(sum_i32x8[i][1]) : : "memory");
    }
}

// 8 sums, 2 columns, a row and a product make 12 of 16 registers. A step is 8 multiplications and 8
// additions, which alone keep four vector ports busy for 4 cycles; with 6 loads and the loop's own 3
// operations it would be more than a core issues in that time, so four steps share a loop's end.
__attribute__((noinline)) void micro_kernel(const uint8_t* a, const uint8_t* b, size_t steps, uint32_t* c,
                                            size_t c_stride, bool add) {
    constexpr size_t kAtOnce = 4;
    __m256i sum_i32x8[4][2];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) sum_i32x8[i][0] = sum_i32x8[i][1] = _mm256_setzero_si256();
    const uint8_t* const end = a + steps * kPanelStep;
    const uint8_t* const last = a + steps / kAtOnce * kAtOnce * kPanelStep;
#pragma GCC unroll 1
    for (; a != last; a += kAtOnce * kPanelStep, b += kAtOnce * kPanelStep) {
#pragma GCC unroll 4
        for (size_t k = 0; k < kAtOnce; ++k) add_step(a + k * kPanelStep, b + k * kPanelStep, sum_i32x8);
    }
#pragma GCC unroll 1
    for (; a != end; a += kPanelStep, b += kPanelStep) add_step(a, b, sum_i32x8);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        for (int half = 0; half < 2; ++half) {
            uint32_t* out = c + static_cast<size_t>(i) * c_stride + half * 8;
            store(out, add ? _mm256_add_epi32(load(out), sum_i32x8[i][half]) : sum_i32x8[i][half]);
        }
    }
}

void dot(const uint8_t* a, size_t a_stride, int rows, const uint8_t* b, size_t b_stride, int panels,
         size_t steps, uint32_t* c, size_t c_stride, bool add) {
    for (size_t begin = 0; begin < steps; begin += kBlockSteps) {
        const size_t count = steps - begin < kBlockSteps ? steps - begin : kBlockSteps;
        const uint8_t* first = a + begin * kPanelStep;
        for (int p = 0; p < panels; ++p) {
            const uint8_t* columns = b + static_cast<size_t>(p) * b_stride + begin * kPanelStep;
            for (int i = 0; i < rows; i += 4) {
                uint32_t* out = c + static_cast<size_t>(i) * c_stride + p * kPanelImages;
                micro_kernel(panel_row(first, a_stride, i), columns, count, out, c_stride, add || begin != 0);
            }
        }
    }
}

// Squares of the differences of 32 bytes.
inline void add_squares(__m256i x, __m256i y, __m256i mask, __m256i sum[2]) {
    const __m256i zero = _mm256_setzero_si256();
    const __m256i d = _mm256_and_si256(_mm256_or_si256(_mm256_subs_epu8(x, y), _mm256_subs_epu8(y, x)), mask);
    const __m256i low = _mm256_unpacklo_epi8(d, zero), high = _mm256_unpackhi_epi8(d, zero);
    sum[0] = _mm256_add_epi32(sum[0], _mm256_madd_epi16(low, low));
    sum[1] = _mm256_add_epi32(sum[1], _mm256_madd_epi16(high, high));
}

// The first and the last 16 of 16 to 32 bytes, which may overlap.
inline __m256i load_ends(const uint8_t* p, size_t bytes) {
    const __m128i first = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    const __m128i last = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + bytes - 16));
    return _mm256_set_m128i(last, first);
}

constexpr size_t kMaskBytes = 32;
// From kMasks + r on, 32 bytes of which the last r are set.
alignas(64) constexpr uint8_t kMasks[2 * kMaskBytes] = {
    0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,
    0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,   0,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};

// A line's last bytes are loaded again with those before them, which the mask takes out: short lines, those
// of small tiles, would spend most of their time on single bytes.
uint32_t pair_ssd(const uint8_t* x, ptrdiff_t x_stride, const uint8_t* y, ptrdiff_t y_stride, size_t lines,
                  size_t bytes) {
    const __m256i all = _mm256_set1_epi8(-1);
    __m256i sum[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    uint32_t total = 0;
    if (bytes >= kMaskBytes) {
        const size_t rest = bytes % kMaskBytes;
        const __m256i tail = load(kMasks + rest);
        for (size_t l = 0; l < lines; ++l, x += x_stride, y += y_stride) {
            for (size_t k = 0; k + kMaskBytes <= bytes; k += kMaskBytes)
                add_squares(load(x + k), load(y + k), all, sum);
            if (rest != 0) add_squares(load(x + bytes - kMaskBytes), load(y + bytes - kMaskBytes), tail, sum);
        }
    } else if (bytes >= kMaskBytes / 2) {
        // The upper half repeats all but the last bytes - 16.
        const __m256i tail = _mm256_set_m128i(
            _mm_loadu_si128(reinterpret_cast<const __m128i*>(kMasks + bytes)), _mm_set1_epi8(-1));
        for (size_t l = 0; l < lines; ++l, x += x_stride, y += y_stride)
            add_squares(load_ends(x, bytes), load_ends(y, bytes), tail, sum);
    } else {
        for (size_t l = 0; l < lines; ++l, x += x_stride, y += y_stride) {
            for (size_t k = 0; k < bytes; ++k) {
                const int d = static_cast<int>(x[k]) - y[k];
                total += static_cast<uint32_t>(d * d);
            }
        }
    }
    uint32_t lanes[8];
    store(lanes, _mm256_add_epi32(sum[0], sum[1]));
    for (uint32_t lane : lanes) total += lane;
    return total;
}

uint64_t peak_products(uint64_t iterations) {
    __m256i sum[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) sum[i] = _mm256_setzero_si256();
    const __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5);
    for (uint64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) {
            __m256i product;
            __asm__ volatile("vpmaddwd %2, %1, %0" : "=x"(product) : "x"(a), "x"(b));
            __asm__ volatile("vpaddd %1, %0, %0" : "+x"(sum[i]) : "x"(product));
        }
    }
    return iterations * 8 * 16;
}

uint64_t read_bytes(const uint8_t* data, size_t bytes) {
    __m256i sum[4] = {};
    for (size_t i = 0; i + 128 <= bytes; i += 128) {
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) sum[v] = _mm256_add_epi64(sum[v], load(data + i + v * 32));
    }
    uint64_t lanes[4];
    store(lanes, _mm256_add_epi64(_mm256_add_epi64(sum[0], sum[1]), _mm256_add_epi64(sum[2], sum[3])));
    return lanes[0] + lanes[1] + lanes[2] + lanes[3];
}

}  // namespace

constinit const Kernels kernels_avx2{
    .step_bytes = kStepBytes,
    .row_panels = 1,
    .column_panels = 4,
    .separate_row_layout = false,
    .chunk_bytes = 768,
    .panel_bytes = 8UL << 20,
    .bias = 0,
    .dot_ns = 17.0F,
    .pair_ns = 80.0F,
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
