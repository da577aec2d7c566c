// AArch64 dot product: udot adds four exact products of unsigned bytes to each uint32 lane.
#include <arm_neon.h>

#include "panels/contract.hpp"

namespace memcore::panels {
namespace {

#include "panels/common.inl"

constexpr size_t kStepBytes = 4;

inline uint32x4_t load_step(const uint8_t* p) { return vreinterpretq_u32_u8(vld1q_u8(p)); }

// Four rows of 16 bytes -> four steps of four lanes.
inline void transpose(uint32x4_t r[4]) {
    const uint32x4_t a = vtrn1q_u32(r[0], r[1]), b = vtrn2q_u32(r[0], r[1]);
    const uint32x4_t c = vtrn1q_u32(r[2], r[3]), d = vtrn2q_u32(r[2], r[3]);
    r[0] = vreinterpretq_u32_u64(vtrn1q_u64(vreinterpretq_u64_u32(a), vreinterpretq_u64_u32(c)));
    r[1] = vreinterpretq_u32_u64(vtrn1q_u64(vreinterpretq_u64_u32(b), vreinterpretq_u64_u32(d)));
    r[2] = vreinterpretq_u32_u64(vtrn2q_u64(vreinterpretq_u64_u32(a), vreinterpretq_u64_u32(c)));
    r[3] = vreinterpretq_u32_u64(vtrn2q_u64(vreinterpretq_u64_u32(b), vreinterpretq_u64_u32(d)));
}

void pack(const uint8_t* rows, size_t row_stride, size_t bytes, uint8_t* panel, uint8_t* /*row_layout*/,
          uint32_t* sums, uint32_t* squares) {
    const uint8x16_t ones = vdupq_n_u8(1);
    const size_t end = (bytes + kPackBlock - 1) / kPackBlock * kPackBlock;
    for (size_t group = 0; group < 4; ++group) {
        const uint8_t* first = rows + group * 4 * row_stride;
        uint32x4_t sum = vld1q_u32(sums + group * 4), square = vld1q_u32(squares + group * 4);
        for (size_t k = 0; k < end; k += 16) {
            uint32x4_t r[4];
#pragma GCC unroll 4
            for (size_t i = 0; i < 4; ++i) r[i] = load_step(first + i * row_stride + k);
            transpose(r);
            for (size_t s = 0; s < 4; ++s) {
                const uint8x16_t step = vreinterpretq_u8_u32(r[s]);
                vst1q_u8(panel + (k / kStepBytes + s) * kPanelStep + group * 16, step);
                sum = vdotq_u32(sum, step, ones);
                square = vdotq_u32(square, step, step);
            }
        }
        vst1q_u32(sums + group * 4, sum);
        vst1q_u32(squares + group * 4, square);
    }
}

// 4 rows x 16 columns: 16 sums, 4 columns and one vector that holds the four rows make 21 of 32 registers.
// tests/native/test_asm.py reads the disassembly, and csrc/tests/run.sh aarch64 runs this under emulation.
__attribute__((noinline)) void micro_kernel(const uint8_t* a, const uint8_t* b, size_t steps, uint32_t* c,
                                            size_t c_stride, bool add) {
    uint32x4_t sum[4][4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) sum[i][q] = vdupq_n_u32(0);
    }
    for (size_t s = 0; s < steps; ++s) {
        const uint8x16_t rows = vld1q_u8(a + s * kPanelStep);
        uint8x16_t column[4];
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) column[q] = vld1q_u8(b + s * kPanelStep + q * 16);
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) {
            sum[0][q] = vdotq_laneq_u32(sum[0][q], column[q], rows, 0);
            sum[1][q] = vdotq_laneq_u32(sum[1][q], column[q], rows, 1);
            sum[2][q] = vdotq_laneq_u32(sum[2][q], column[q], rows, 2);
            sum[3][q] = vdotq_laneq_u32(sum[3][q], column[q], rows, 3);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) {
            uint32_t* out = c + static_cast<size_t>(i) * c_stride + q * 4;
            vst1q_u32(out, add ? vaddq_u32(vld1q_u32(out), sum[i][q]) : sum[i][q]);
        }
    }
}

void dot(const uint8_t* a, size_t a_stride, int rows, const uint8_t* b, size_t b_stride, int panels,
         size_t steps, uint32_t* c, size_t c_stride, bool add) {
    for (int p = 0; p < panels; ++p) {
        const uint8_t* columns = b + static_cast<size_t>(p) * b_stride;
        for (int i = 0; i < rows; i += 4) {
            uint32_t* out = c + static_cast<size_t>(i) * c_stride + p * kPanelImages;
            micro_kernel(panel_row(a, a_stride, i), columns, steps, out, c_stride, add);
        }
    }
}

uint32_t pair_ssd(const uint8_t* x, ptrdiff_t x_stride, const uint8_t* y, ptrdiff_t y_stride, size_t lines,
                  size_t bytes) {
    uint32x4_t sum = vdupq_n_u32(0);
    uint32_t total = 0;
    for (size_t l = 0; l < lines; ++l, x += x_stride, y += y_stride) {
        size_t k = 0;
        for (; k + 16 <= bytes; k += 16) {
            const uint8x16_t d = vabdq_u8(vld1q_u8(x + k), vld1q_u8(y + k));
            sum = vdotq_u32(sum, d, d);
        }
        for (; k < bytes; ++k) {
            const int d = static_cast<int>(x[k]) - y[k];
            total += static_cast<uint32_t>(d * d);
        }
    }
    return total + vaddvq_u32(sum);
}

uint64_t peak_products(uint64_t iterations) {
    uint32x4_t sum[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) sum[i] = vdupq_n_u32(0);
    const uint8x16_t a = vdupq_n_u8(3), b = vdupq_n_u8(5);
    for (uint64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i)
            __asm__ volatile("udot %0.4s, %1.16b, %2.16b" : "+w"(sum[i]) : "w"(a), "w"(b));
    }
    return iterations * 16 * 16;
}

uint64_t read_bytes(const uint8_t* data, size_t bytes) {
    uint64x2_t sum[4] = {};
    for (size_t i = 0; i + 64 <= bytes; i += 64) {
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v)
            sum[v] = vaddq_u64(sum[v], vreinterpretq_u64_u8(vld1q_u8(data + i + v * 16)));
    }
    return vaddvq_u64(vaddq_u64(vaddq_u64(sum[0], sum[1]), vaddq_u64(sum[2], sum[3])));
}

}  // namespace

constinit const Kernels kernels_neon_dotprod{
    .step_bytes = kStepBytes,
    .row_panels = 1,
    .column_panels = 1,
    .separate_row_layout = false,
    .chunk_bytes = 1536,
    .panel_bytes = 8UL << 20,
    .bias = 0,
    .dot_ns = 10.0F,
    .pair_ns = 180.0F,
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
