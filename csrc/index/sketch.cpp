#include "index/sketch.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "index/contract.hpp"
#include "runtime/thread_pool.hpp"

namespace memcore::index {
namespace {

// The whole number nearest to sqrt(numerator) / (2 m), at most 255; the float only guesses, integers decide.
std::uint8_t rounded_residual(std::uint64_t numerator, std::uint64_t m) {
    const double guess = std::sqrt(static_cast<double>(numerator)) / (2.0 * static_cast<double>(m)) + 0.5;
    auto a = static_cast<std::uint64_t>(std::min(guess, 256.0));
    const auto edge = [&](std::uint64_t odd) { return odd * m * odd * m; };  // (2a +- 1)^2 m^2
    while (a > 0 && edge(2 * a - 1) > numerator) --a;
    while (a < 256 && edge(2 * a + 1) <= numerator) ++a;
    return static_cast<std::uint8_t>(std::min<std::uint64_t>(a, 255));
}

std::uint64_t sum_of_squares(const std::uint8_t* image, std::size_t bytes) {
    constexpr std::size_t kStep = 1 << 15;  // 2^15 * 255^2 fits uint32
    std::uint64_t total = 0;
    for (std::size_t k = 0; k < bytes; k += kStep) {
        std::uint32_t part = 0;
        const std::size_t end = std::min(bytes, k + kStep);
        for (std::size_t i = k; i < end; ++i) part += std::uint32_t{image[i]} * image[i];
        total += part;
    }
    return total;
}

void sketch_one(const std::uint8_t* image, const SketchShape& shape, std::vector<std::uint64_t>& sums,
                std::uint8_t* out) {
    const std::size_t c_count = shape.channels, bh = shape.block_height(), bw = shape.block_width();
    std::fill(sums.begin(), sums.end(), 0);
    for (std::size_t y = 0; y < shape.rows * bh; ++y) {
        const std::uint8_t* line = image + y * shape.width * c_count;
        std::uint64_t* row = sums.data() + y / bh * shape.columns * c_count;
        for (std::size_t column = 0; column < shape.columns; ++column, row += c_count) {
            std::uint32_t part[4] = {};
            for (std::size_t x = 0; x < bw; ++x) {
                for (std::size_t c = 0; c < c_count; ++c) part[c] += *line++;
            }
            for (std::size_t c = 0; c < c_count; ++c) row[c] += part[c];
        }
    }
    const std::uint64_t m = shape.block_pixels();
    std::uint64_t numerator = m * sum_of_squares(image, shape.image_bytes());  // m r^2 = m |x|^2 - sum S^2
    for (std::size_t b = 0; b < sums.size(); ++b) {
        numerator -= sums[b] * sums[b];
        out[b] = static_cast<std::uint8_t>((2 * sums[b] + m) / (2 * m));
    }
    std::fill_n(out + sums.size(), kResidualCopies, rounded_residual(numerator, m));
}

}  // namespace

bool fits(const SketchShape& shape) {
    const long double most = static_cast<long double>(shape.block_pixels()) * 65025.0L *
                             static_cast<long double>(shape.image_bytes());
    // rounded_residual compares with (2 * 256 + 1)^2 m^2 at most.
    const long double edge =
        513.0L * 513.0L * static_cast<long double>(shape.block_pixels()) * shape.block_pixels();
    return most < 9.0e18L && edge < 9.0e18L;
}

void sketch(const std::uint8_t* images, std::size_t count, const SketchShape& shape, std::uint8_t* out,
            int threads) {
    constexpr std::size_t kImagesPerUnit = 256;
    const std::size_t units = (count + kImagesPerUnit - 1) / kImagesPerUnit;
    parallel_for(units, threads, [&](std::size_t unit, std::size_t) {
        std::vector<std::uint64_t> sums(shape.blocks());
        const std::size_t end = std::min(count, (unit + 1) * kImagesPerUnit);
        for (std::size_t i = unit * kImagesPerUnit; i < end; ++i) {
            sketch_one(images + i * shape.image_bytes(), shape, sums,
                       out + i * (shape.blocks() + kResidualCopies));
        }
    });
}

}  // namespace memcore::index
