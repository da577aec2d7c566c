// Plain C++: the baseline of every machine, and the middle level of truth between NumPy and the vector units.
#include "panels/contract.hpp"

namespace memcore::panels {
namespace {

#include "panels/common.inl"

constexpr size_t kStepBytes = 4;

void pack(const uint8_t* rows, size_t row_stride, size_t bytes, uint8_t* panel, uint8_t* /*row_layout*/,
          uint32_t* sums, uint32_t* squares) {
    const size_t steps = (bytes + kPackBlock - 1) / kPackBlock * (kPackBlock / kStepBytes);
    for (size_t i = 0; i < kPanelImages; ++i) {
        const uint8_t* row = rows + i * row_stride;
        uint32_t sum = 0, square = 0;
        for (size_t k = 0; k < bytes; ++k) {
            sum += row[k];
            square += static_cast<uint32_t>(row[k]) * row[k];
        }
        sums[i] += sum;
        squares[i] += square;
        for (size_t s = 0; s < steps; ++s) {
            __builtin_memcpy(panel + s * kPanelStep + i * kStepBytes, row + s * kStepBytes, kStepBytes);
        }
    }
}

void dot(const uint8_t* a, size_t a_stride, int rows, const uint8_t* b, size_t b_stride, int panels,
         size_t steps, uint32_t* c, size_t c_stride, bool add) {
    for (int p = 0; p < panels; ++p) {
        const uint8_t* columns = b + static_cast<size_t>(p) * b_stride;
        for (int i = 0; i < rows; ++i) {
            const uint8_t* row = panel_row(a, a_stride, i);
            uint32_t sum[kPanelImages] = {};
            for (size_t s = 0; s < steps; ++s) {
                const uint8_t* x = row + s * kPanelStep;
                const uint8_t* y = columns + s * kPanelStep;
                for (size_t j = 0; j < kPanelImages; ++j) {
                    for (size_t k = 0; k < kStepBytes; ++k)
                        sum[j] += static_cast<uint32_t>(x[k]) * y[j * kStepBytes + k];
                }
            }
            uint32_t* out = c + static_cast<size_t>(i) * c_stride + static_cast<size_t>(p) * kPanelImages;
            for (size_t j = 0; j < kPanelImages; ++j) out[j] = (add ? out[j] : 0) + sum[j];
        }
    }
}

uint32_t pair_ssd(const uint8_t* x, ptrdiff_t x_stride, const uint8_t* y, ptrdiff_t y_stride, size_t lines,
                  size_t bytes) {
    uint32_t sum = 0;
    for (size_t l = 0; l < lines; ++l, x += x_stride, y += y_stride) {
        for (size_t k = 0; k < bytes; ++k) {
            const int d = static_cast<int>(x[k]) - y[k];
            sum += static_cast<uint32_t>(d * d);
        }
    }
    return sum;
}

// What the compiler makes of `dot` is all that this unit has, so its ceiling is `dot` itself on panels that
// stay in the first-level cache.
uint64_t peak_products(uint64_t iterations) {
    constexpr size_t kSteps = 64;
    uint8_t panel[kSteps * kPanelStep];
    for (size_t k = 0; k < sizeof(panel); ++k) panel[k] = static_cast<uint8_t>(k * 37);
    uint32_t c[kPanelImages * kPanelImages] = {};
    for (uint64_t n = 0; n < iterations; ++n)
        dot(panel, 0, kPanelImages, panel, 0, 1, kSteps, c, kPanelImages, true);
    __asm__ volatile("" : : "r"(c) : "memory");
    return iterations * kSteps * kStepBytes * kPanelImages * kPanelImages;
}

uint64_t read_bytes(const uint8_t* data, size_t bytes) {
    uint64_t sum = 0;
    for (size_t i = 0; i + 8 <= bytes; i += 8) {
        uint64_t word;
        __builtin_memcpy(&word, data + i, 8);
        sum += word;
    }
    return sum;
}

}  // namespace

constinit const Kernels kernels_scalar{
    .step_bytes = kStepBytes,
    .row_panels = 1,
    .column_panels = 1,
    .separate_row_layout = false,
    .chunk_bytes = 1536,
    .panel_bytes = 8UL << 20,
    .bias = 0,
    .dot_ns = 500.0F,
    .pair_ns = 600.0F,
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
