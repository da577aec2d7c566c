#include "tiled_l2/float_images.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "runtime/aligned.hpp"
#include "runtime/interrupt.hpp"
#include "runtime/thread_pool.hpp"

namespace memcore::tiled_l2 {
namespace {

using panels::kFloatChunk;
using panels::kFloatLanes;

constexpr std::size_t kSide =
    48;  // images on each side of a block: two chunks of them fit the second-level cache

float from_half(std::uint16_t bits) {
    // Exponent and fraction moved to where float32 has them, then scaled by 2^(127 - 15): exact, subnormals
    // too.
    const auto magnitude = std::bit_cast<float>(static_cast<std::uint32_t>(bits & 0x7fffU) << 13) * 0x1p112F;
    const auto sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16;
    const std::uint32_t special =
        (bits & 0x7c00U) == 0x7c00U ? 0x7f800000U : 0U;  // infinities and NaN stay so
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign | special);
}

float from_bfloat(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }

struct Workspace {
    AlignedArray<float> x, y;           // kSide rows of one chunk
    std::vector<double> sums, largest;  // kSide x kSide
};

class FloatDense {
  public:
    FloatDense(const Kernels& kernels, FloatType type, const Images& a, const Images* other, const Grid& grid,
               Matrix<float> out)
        : kernels_(kernels),
          type_(type),
          a_(a),
          b_(other == nullptr ? a : *other),
          symmetric_(other == nullptr),
          grid_(grid),
          out_(out),
          line_elements_(grid.line_bytes / element_bytes(type)),
          elements_(grid.lines() * line_elements_) {}

    void run(int threads) {
        struct Unit {
            std::size_t batch, row, column;
        };
        std::vector<Unit> units;
        for (std::size_t b = 0; b < a_.batches; ++b) {
            for (std::size_t i = 0; i < out_.rows; i += kSide) {
                for (std::size_t j = symmetric_ ? i : 0; j < out_.columns; j += kSide)
                    units.push_back({b, i, j});
            }
        }
        std::vector<std::unique_ptr<Workspace>> spaces(worker_count(units.size(), threads));
        parallel_for(units.size(), threads, [&](std::size_t n, std::size_t worker) {
            if (!spaces[worker]) {
                spaces[worker] = std::make_unique<Workspace>(Workspace{
                    AlignedArray<float>(kSide * kFloatChunk), AlignedArray<float>(kSide * kFloatChunk),
                    std::vector<double>(kSide * kSide), std::vector<double>(kSide * kSide)});
            }
            run_block(units[n].batch, units[n].row, units[n].column, *spaces[worker]);
        });
    }

  private:
    void run_block(std::size_t batch, std::size_t row, std::size_t column, Workspace& space) {
        const std::size_t rows = std::min(kSide, out_.rows - row),
                          columns = std::min(kSide, out_.columns - column);
        const bool triangle = symmetric_ && row == column;
        std::fill(space.largest.begin(), space.largest.end(), 0.0);
        for (std::size_t ty = 0; ty < grid_.tile_rows; ++ty) {
            for (std::size_t tx = 0; tx < grid_.tile_columns; ++tx) {
                std::fill(space.sums.begin(), space.sums.end(), 0.0);
                for (std::size_t e = 0; e < elements_; e += kFloatChunk) {
                    check_interrupt();
                    const std::size_t n = std::min(kFloatChunk, elements_ - e);
                    gather(a_, batch, row, rows, ty, tx, e, n, space.x);
                    if (!triangle) gather(b_, batch, column, columns, ty, tx, e, n, space.y);
                    add_chunk(rows, columns, triangle, round_up(n, kFloatLanes), space);
                }
                for (std::size_t k = 0; k < rows * kSide; ++k) {
                    space.largest[k] = std::max(space.largest[k], space.sums[k]);
                }
            }
        }
        for (std::size_t i = 0; i < rows; ++i) {
            for (std::size_t j = triangle ? i : 0; j < columns; ++j) {
                const double mean = space.largest[i * kSide + j] / static_cast<double>(elements_);
                const auto distance = static_cast<float>(std::sqrt(mean));
                out_.row(batch, row + i)[column + j] = distance;
                if (symmetric_) out_.row(batch, column + j)[row + i] = distance;
            }
        }
    }

    void add_chunk(std::size_t rows, std::size_t columns, bool triangle, std::size_t n,
                   Workspace& space) const {
        float sums[kSide];
        const AlignedArray<float>& y = triangle ? space.x : space.y;
        for (std::size_t i = 0; i < rows; ++i) {
            const std::size_t first = triangle ? i : 0;
            kernels_.float_ssd(space.x.data() + i * kFloatChunk, y.data() + first * kFloatChunk, kFloatChunk,
                               columns - first, n, sums);
            for (std::size_t j = first; j < columns; ++j)
                space.sums[i * kSide + j] += static_cast<double>(sums[j - first]);
        }
    }

    // Elements [first_element, first_element + n) of a tile of each image, as float32, zeros up to a multiple
    // of the lanes.
    void gather(const Images& images, std::size_t batch, std::size_t first, std::size_t count,
                std::size_t tile_row, std::size_t tile_column, std::size_t first_element, std::size_t n,
                AlignedArray<float>& to) const {
        const std::size_t size = element_bytes(type_);
        for (std::size_t i = 0; i < count; ++i) {
            float* row = to.data() + i * kFloatChunk;
            const std::uint8_t* image = images.image(batch, first + i);
            for (std::size_t e = 0; e < n;) {
                const std::size_t line = (first_element + e) / line_elements_;
                const std::size_t within = (first_element + e) % line_elements_;
                const std::size_t run = std::min(n - e, line_elements_ - within);
                const std::uint8_t* from = tile_line(images, grid_, image, tile_row, tile_column, line);
                to_float32(type_, from + within * size, run, row + e);
                e += run;
            }
            std::fill(row + n, row + round_up(n, kFloatLanes), 0.0F);
        }
    }

    const Kernels& kernels_;
    const FloatType type_;
    const Images a_, b_;
    const bool symmetric_;
    const Grid grid_;
    const Matrix<float> out_;
    const std::size_t line_elements_, elements_;
};

}  // namespace

void to_float32(FloatType type, const std::uint8_t* from, std::size_t count, float* to) {
    if (type == FloatType::kFloat32) {
        std::memcpy(to, from, count * sizeof(float));
        return;
    }
    const auto convert = [&](auto each) {
        for (std::size_t i = 0; i < count; ++i) {
            std::uint16_t bits;
            std::memcpy(&bits, from + 2 * i, sizeof(bits));
            to[i] = each(bits);
        }
    };
    type == FloatType::kFloat16 ? convert(from_half) : convert(from_bfloat);
}

std::size_t first_outside_unit(FloatType type, const std::uint8_t* data, std::size_t count) {
    constexpr std::size_t kRun = 256;
    float values[kRun];
    for (std::size_t begin = 0; begin < count; begin += kRun) {
        const std::size_t n = std::min(kRun, count - begin);
        to_float32(type, data + begin * element_bytes(type), n, values);
        int outside = 0;
        for (std::size_t i = 0; i < n; ++i) outside |= !(values[i] >= 0.0F) | !(values[i] <= 1.0F);
        if (!outside) continue;
        for (std::size_t i = 0; i < n; ++i) {
            if (!(values[i] >= 0.0F && values[i] <= 1.0F)) return begin + i;
        }
    }
    return count;
}

std::optional<Element> first_outside_unit(FloatType type, const Images& images) {
    const std::size_t size = element_bytes(type), count = images.row_bytes / size;
    for (std::size_t b = 0; b < images.batches; ++b) {
        for (std::size_t i = 0; i < images.count; ++i) {
            for (std::size_t line = 0; line < images.planes * images.height; ++line) {
                const std::size_t plane = line / images.height, row = line % images.height;
                const std::uint8_t* data = images.image(b, i) +
                                           static_cast<std::ptrdiff_t>(plane) * images.plane_stride +
                                           static_cast<std::ptrdiff_t>(row) * images.row_stride;
                const std::size_t at = first_outside_unit(type, data, count);
                if (at == count) continue;
                Element bad{b, i, row, at, 0};
                to_float32(type, data + at * size, 1, &bad.value);
                return bad;
            }
        }
    }
    return std::nullopt;
}

void pairwise_float(const Kernels& kernels, FloatType type, Images a, const Images* other, Grid grid,
                    Matrix<float> out, int threads) {
    if (out.rows == 0 || out.columns == 0 || a.batches == 0) return;
    Images b = other == nullptr ? Images{} : *other;
    join_lines(a, other == nullptr ? nullptr : &b, grid);
    FloatDense(kernels, type, a, other == nullptr ? nullptr : &b, grid, out).run(threads);
}

}  // namespace memcore::tiled_l2
