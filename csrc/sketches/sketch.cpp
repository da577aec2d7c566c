#include "sketches/sketch.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <vector>

#include "runtime/interrupt.hpp"
#include "runtime/thread_pool.hpp"
#include "sketches/contract.hpp"

namespace memcore::sketches {
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

struct Scratch {
    std::vector<std::uint32_t> columns;  // of one row of blocks: a sum for each byte of a line
    std::vector<std::uint64_t> sums;
};

// sums[block][channel] of the columns of a row of blocks.
template <std::size_t kChannels>
void sum_blocks(const std::uint32_t* column, std::size_t blocks, std::size_t width, std::uint64_t* sums) {
    for (std::size_t block = 0; block < blocks; ++block, sums += kChannels) {
        std::uint64_t sum[kChannels] = {};
        for (std::size_t x = 0; x < width; ++x) {
            for (std::size_t c = 0; c < kChannels; ++c) sum[c] += *column++;
        }
        for (std::size_t c = 0; c < kChannels; ++c) sums[c] = sum[c];
    }
}

void sum_blocks(const std::uint32_t* column, std::size_t blocks, std::size_t width, std::size_t channels,
                std::uint64_t* sums) {
    constexpr decltype(&sum_blocks<1>) kOf[] = {sum_blocks<1>, sum_blocks<2>, sum_blocks<3>, sum_blocks<4>};
    kOf[channels - 1](column, blocks, width, sums);
}

// Lines are added up before they are divided into blocks: the compiler vectorises that loop.
void sketch_one(const std::uint8_t* image, const SketchShape& shape, Scratch& scratch, std::uint8_t* out) {
    const std::size_t c_count = shape.channels, bh = shape.block_height(), bw = shape.block_width();
    const std::size_t line_bytes = shape.width * c_count, used = shape.columns * bw * c_count;
    std::uint32_t* const columns = scratch.columns.data();
    std::vector<std::uint64_t>& sums = scratch.sums;
    for (std::size_t row = 0; row < shape.rows; ++row) {
        std::fill_n(columns, used, 0);  // at most 2^24 lines of 255 fit: `fits` allows far fewer
        const std::uint8_t* line = image + row * bh * line_bytes;
        for (std::size_t y = 0; y < bh; ++y, line += line_bytes) {
            for (std::size_t i = 0; i < used; ++i) columns[i] += line[i];
        }
        sum_blocks(columns, shape.columns, bw, c_count, sums.data() + row * shape.columns * c_count);
    }
    const std::uint64_t m = shape.block_pixels();
    const bool power = std::has_single_bit(m);  // a shift takes a tenth of a division's time
    const int shift = std::countr_zero(2 * m);
    std::uint64_t numerator = m * sum_of_squares(image, shape.image_bytes());  // m r^2 = m |x|^2 - sum S^2
    for (std::size_t b = 0; b < sums.size(); ++b) {
        numerator -= sums[b] * sums[b];
        const std::uint64_t twice = 2 * sums[b] + m;
        out[b] = static_cast<std::uint8_t>(power ? twice >> shift : twice / (2 * m));
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
        Scratch scratch{std::vector<std::uint32_t>(shape.width * shape.channels),
                        std::vector<std::uint64_t>(shape.blocks())};
        const std::size_t end = std::min(count, (unit + 1) * kImagesPerUnit);
        for (std::size_t i = unit * kImagesPerUnit; i < end; ++i) {
            check_interrupt();
            sketch_one(images + i * shape.image_bytes(), shape, scratch,
                       out + i * (shape.blocks() + kResidualCopies));
        }
    });
}

}  // namespace memcore::sketches
