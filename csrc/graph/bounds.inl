// The bounds themselves, included inside the anonymous namespace of each instruction set's unit. F32x16 is
// sixteen lanes that the compiler maps to one, two or four registers. The unit defines it, and any_above(v,
// limit), before it includes this.

void normalise(const uint32_t* __restrict sums, const float* __restrict scale,
               const double* __restrict inverse, size_t rows, float* __restrict features,
               double* __restrict energy) {
    for (size_t row = 0; row < rows; ++row) {
        for (size_t lane = 0; lane < kLanes; ++lane) {
            const double sum = static_cast<double>(sums[row * kLanes + lane]);
            features[row * kLanes + lane] = static_cast<float>(sums[row * kLanes + lane]) * scale[row];
            energy[lane] += sum * sum * inverse[row];
        }
    }
}

inline F32x16 load_lanes(const float* p) { return *reinterpret_cast<const F32x16*>(p); }

inline F32x16 sum_of_squares(const float* x, const float* y, size_t rows) {
    F32x16 sum[4] = {};
    size_t row = 0;
    for (; row + 4 <= rows; row += 4) {
#pragma GCC unroll 4
        for (size_t k = 0; k < 4; ++k) {
            const F32x16 d = load_lanes(x + (row + k) * kLanes) - load_lanes(y + (row + k) * kLanes);
            sum[k] += d * d;
        }
    }
    for (; row < rows; ++row) {
        const F32x16 d = load_lanes(x + row * kLanes) - load_lanes(y + row * kLanes);
        sum[0] += d * d;
    }
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

// Long vectors are summed in parts: a part that exceeds the limit by itself already decides.
inline bool survives(const float* x, const float* y, size_t groups, size_t rows, float limit) {
    constexpr size_t kPart = 64;
    for (size_t g = 0; g < groups; ++g) {
        F32x16 sum = {};
        for (size_t row = 0; row < rows; row += kPart) {
            const size_t offset = (g * rows + row) * kLanes;
            sum += sum_of_squares(x + offset, y + offset, rows - row < kPart ? rows - row : kPart);
            if (any_above(sum, limit)) return false;
        }
    }
    return true;
}

size_t survivors(const float* x, const float* all, size_t stride, size_t begin, size_t end, size_t groups,
                 size_t rows, float limit, uint32_t* kept) {
    size_t count = 0;
    for (size_t j = begin; j < end; ++j) {
        kept[count] = static_cast<uint32_t>(j);
        count += survives(x, all + j * stride, groups, rows, limit);
    }
    return count;
}

void screen(const float* all, size_t stride, size_t groups, size_t rows, float limit, const uint32_t* pairs,
            size_t count, uint8_t* keep) {
    for (size_t p = 0; p < count; ++p) {
        keep[p] = survives(all + pairs[2 * p] * stride, all + pairs[2 * p + 1] * stride, groups, rows, limit);
    }
}

void certain(const float* all, size_t stride, size_t groups, size_t rows, float limit, const uint32_t* pairs,
             size_t count, uint8_t* sure) {
    for (size_t p = 0; p < count; ++p) {
        const float* x = all + pairs[2 * p] * stride;
        const float* y = all + pairs[2 * p + 1] * stride;
        bool all_below = true;
        for (size_t g = 0; g < groups && all_below; ++g, x += rows * kLanes, y += rows * kLanes) {
            const F32x16 residuals =
                load_lanes(x + (rows - 1) * kLanes) + load_lanes(y + (rows - 1) * kLanes);
            const F32x16 squares = residuals * residuals;
            all_below =
                !any_above(squares, limit) && !any_above(sum_of_squares(x, y, rows - 1) + squares, limit);
        }
        sure[p] = all_below;
    }
}

size_t likely_largest(const float* x, const float* y, size_t groups, size_t rows) {
    size_t best = 0;
    float largest = -1.0F;
    for (size_t g = 0; g < groups; ++g) {
        const float* a = x + g * rows * kLanes;
        const float* b = y + g * rows * kLanes;
        const F32x16 ra = load_lanes(a + (rows - 1) * kLanes), rb = load_lanes(b + (rows - 1) * kLanes);
        const F32x16 expected = sum_of_squares(a, b, rows - 1) + ra * ra + rb * rb;
        for (size_t lane = 0; lane < kLanes; ++lane) {
            if (expected[lane] <= largest) continue;
            largest = expected[lane];
            best = g * kLanes + lane;
        }
    }
    return best;
}
