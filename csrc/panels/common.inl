// The loops that the compiler vectorises well by itself, included inside the anonymous namespace of each
// instruction set's unit and so compiled once with each set of flags. No include guard and no std:: on
// purpose.

// First step of row i of panels that lie `stride` bytes apart.
inline const uint8_t* panel_row(const uint8_t* panels, size_t stride, int i) {
    return panels + static_cast<size_t>(i / kPanelImages) * stride +
           static_cast<size_t>(i % kPanelImages) * 4;
}

void max_ssd(const uint32_t* __restrict c, uint32_t row, const uint32_t* __restrict columns, size_t n,
             uint32_t* __restrict out) {
    for (size_t j = 0; j < n; ++j) {
        const uint32_t ssd = row + columns[j] - 2U * c[j];
        out[j] = ssd > out[j] ? ssd : out[j];
    }
}

size_t select_ssd(const uint32_t* __restrict c, uint32_t row, const uint32_t* __restrict columns, size_t n,
                  uint32_t limit, uint32_t* __restrict ssd, uint32_t* __restrict index) {
    constexpr size_t kBlock = 16;
    size_t found = 0, j = 0;
    for (; j + kBlock <= n; j += kBlock) {
        uint32_t value[kBlock];
        uint32_t lowest = UINT32_MAX;
        for (size_t l = 0; l < kBlock; ++l) {
            value[l] = row + columns[j + l] - 2U * c[j + l];
            lowest = value[l] < lowest ? value[l] : lowest;
        }
        if (__builtin_expect(lowest > limit, 1)) continue;
        for (size_t l = 0; l < kBlock; ++l) {
            if (value[l] > limit) continue;
            ssd[found] = value[l];
            index[found++] = static_cast<uint32_t>(j + l);
        }
    }
    for (; j < n; ++j) {
        const uint32_t value = row + columns[j] - 2U * c[j];
        if (value > limit) continue;
        ssd[found] = value;
        index[found++] = static_cast<uint32_t>(j);
    }
    return found;
}

// Sixteen float lanes as one value: the compiler maps it to one, two or four registers, always with the same
// arithmetic.
typedef float F32x16 __attribute__((vector_size(64)));
typedef float F32x16Unaligned __attribute__((vector_size(64), aligned(4)));

inline float add_lanes(const F32x16& lanes) {
    float s[16];
    __builtin_memcpy(s, &lanes, sizeof(s));
    for (int half = 8; half > 0; half /= 2) {
        for (int i = 0; i < half; ++i) s[i] += s[i + half];
    }
    return s[0];
}

template <int ROWS>
void float_ssd_rows(const float* x, const float* y, size_t y_stride, size_t n, float* sums) {
    F32x16 sum[ROWS] = {};
    for (size_t e = 0; e < n; e += kFloatLanes) {
        const F32x16 a = *reinterpret_cast<const F32x16Unaligned*>(x + e);
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; ++r) {
            const F32x16 b =
                *reinterpret_cast<const F32x16Unaligned*>(y + static_cast<size_t>(r) * y_stride + e);
            const F32x16 d = a - b;
            sum[r] += d * d;
        }
    }
    for (int r = 0; r < ROWS; ++r) sums[r] = add_lanes(sum[r]);
}

void float_ssd(const float* x, const float* y, size_t y_stride, size_t rows, size_t n, float* sums) {
    size_t r = 0;
    for (; r + 4 <= rows; r += 4) float_ssd_rows<4>(x, y + r * y_stride, y_stride, n, sums + r);
    for (; r < rows; ++r) float_ssd_rows<1>(x, y + r * y_stride, y_stride, n, sums + r);
}
