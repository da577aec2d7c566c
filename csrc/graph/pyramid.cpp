#include "graph/pyramid.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>

#include "panels/copy_image.hpp"
#include "runtime/thread_pool.hpp"

namespace memcore::graph {
namespace {

// The least size of an image's buffer: the system may then give it one huge page.
constexpr std::size_t kHugePage = 2UL << 20;

// Blocks a tile side, coarse to fine: the finest leaves blocks of at least 4 x 4 pixels.
std::vector<std::size_t> sides_for(std::size_t height, std::size_t width) {
    const std::size_t shorter = std::min(height, width);
    if (shorter >= 32) return {1, 4, 8};
    if (shorter >= 16) return {1, 4};
    if (shorter >= 8) return {1, 2};
    return {1};
}

// First pixel of block b where `length` pixels are cut into `side` blocks, as even as they can be.
std::size_t block_start(std::size_t b, std::size_t length, std::size_t side) { return b * length / side; }

// The most columns that may be folded into one 16-bit sum: a power of two that divides the width of every
// block.
std::size_t fold_width(std::size_t tile_width, std::size_t side, std::size_t lines) {
    if (tile_width % side != 0) return 1;
    const std::size_t block = tile_width / side;
    std::size_t width = 1;
    while (block % (2 * width) == 0 && 2 * width * lines <= kMaxLines) width *= 2;
    return width;
}

// Whether an image can be copied while its columns are summed: its lines are whole vectors, and it is so
// large that a copy past the cache is worth it.
bool copies_in_passing(const panels::Images& images, const panels::Grid& grid, const std::uint8_t* copy) {
    return images.planes == 1 && grid.line_bytes % kAlignment == 0 &&
           reinterpret_cast<std::uintptr_t>(copy) % kAlignment == 0 &&
           panels::image_bytes(images) >= panels::kPastCacheBytes;
}

}  // namespace

bool Shape::operator==(const Shape& other) const {
    return grid.tile_rows == other.grid.tile_rows && grid.tile_columns == other.grid.tile_columns &&
           grid.tile_height == other.grid.tile_height && tile_width() == other.tile_width() &&
           channels == other.channels;
}

struct Pyramid::Scratch {
    AlignedArray<std::uint16_t> columns;
    AlignedArray<std::uint32_t> sums;         // groups x blocks of the finest level x lanes
    AlignedArray<std::uint32_t> coarse;       // of a coarser level
    std::vector<std::uint64_t> squares;       // per tile
    std::vector<std::uint32_t> call_squares;  // of one row of tiles
};

Pyramid::Pyramid(const Shape& shape) : shape_(shape), groups_((shape.tiles() + kLanes - 1) / kLanes) {
    const std::size_t height = shape.grid.tile_height, width = shape.tile_width();
    for (const std::size_t side : sides_for(height, width)) {
        Level level;
        level.side = side;
        level.rows = side * side * shape.channels + 1;
        level.stride = groups_ * level.rows * kLanes;
        for (std::size_t by = 0; by < side; ++by) {
            for (std::size_t bx = 0; bx < side; ++bx) {
                const std::size_t lines = block_start(by + 1, height, side) - block_start(by, height, side);
                const std::size_t pixels = block_start(bx + 1, width, side) - block_start(bx, width, side);
                const double bytes = static_cast<double>(lines * pixels);
                level.scale.insert(level.scale.end(), shape.channels,
                                   static_cast<float>(1.0 / std::sqrt(bytes)));
                level.inverse.insert(level.inverse.end(), shape.channels, 1.0 / bytes);
            }
        }
        levels_.push_back(std::move(level));
    }
    const std::size_t finest = levels_.back().side, channels = shape.channels;
    for (std::size_t b = 0; b <= finest; ++b) column_starts_.push_back(block_start(b, width, finest));
    for (Level& level : levels_) {
        const std::size_t ratio = finest / level.side;
        for (std::size_t b = 0; b < finest * finest * channels; ++b) {
            const std::size_t by = b / channels / finest / ratio, bx = b / channels % finest / ratio;
            level.parent.push_back(
                static_cast<std::uint32_t>((by * level.side + bx) * channels + b % channels));
        }
    }
}

Pyramid::Margin Pyramid::margin(std::size_t level) const {
    const double n = static_cast<double>(levels_[level].rows - 1), u = 0x1p-24;
    const double norm = 255.0 * std::sqrt(static_cast<double>(shape_.grid.tile_bytes()));
    const double e = 2.0 * (4.0 * u + std::sqrt((n + 4.0) * 0x1p-52)) * norm;
    return {2.0 * e, 2.0 * (n + 8.0) * u};
}

float Pyramid::limit(std::size_t level, std::uint64_t ssd_max) const {
    const Margin m = margin(level);
    const double reach = std::sqrt(static_cast<double>(ssd_max)) * (1.0 + 0x1p-24) + m.distance;
    const double factor = 1.0 + m.relative;
    return std::nextafter(static_cast<float>(reach * reach * factor * factor), INFINITY);
}

float Pyramid::sure_limit(std::size_t level, std::uint64_t ssd_max) const {
    const Margin m = margin(level);
    const double reach = std::sqrt(static_cast<double>(ssd_max)) * (1.0 - 0x1p-24) - m.distance;
    const double factor = 1.0 - m.relative;
    if (reach < 0 || factor < 0) return -1.0F;
    return std::nextafter(static_cast<float>(reach * reach * factor * factor), -INFINITY);
}

void Pyramid::reserve(std::size_t images) {
    if (images <= capacity_) return;
    capacity_ = std::max(images, 2 * capacity_);
    for (Level& level : levels_) {
        AlignedArray<float> grown(capacity_ * level.stride);
        if (size_ != 0) std::memcpy(grown.data(), level.vectors.data(), size_ * level.stride * sizeof(float));
        level.vectors = std::move(grown);
    }
}

template <class Mapping>
void Pyramid::compute_many(const Kernels& kernels, const panels::Images& images, const Shape& layout,
                           std::size_t count, int threads, Mapping&& mapping, std::uint8_t* copies) {
    constexpr std::size_t kImagesPerUnit = 4;
    const std::size_t units = (count + kImagesPerUnit - 1) / kImagesPerUnit;
    std::vector<std::unique_ptr<Scratch>> scratches(worker_count(units, threads));
    parallel_for(units, threads, [&](std::size_t unit, std::size_t worker) {
        if (!scratches[worker]) scratches[worker] = std::make_unique<Scratch>();
        const std::size_t end = std::min(count, (unit + 1) * kImagesPerUnit);
        for (std::size_t k = unit * kImagesPerUnit; k < end; ++k) {
            const auto [from, to] = mapping(k);
            std::uint8_t* const copy = copies == nullptr ? nullptr : copies + k * panels::image_bytes(images);
            const bool in_passing = copy != nullptr && copies_in_passing(images, layout.grid, copy);
            compute(kernels, images, layout, from, to, *scratches[worker], in_passing ? copy : nullptr);
            if (in_passing) {
                panels::order_copies();
            } else if (copy != nullptr) {
                panels::copy_image(images, from, copy);
            }
        }
    });
}

void Pyramid::append(const Kernels& kernels, const panels::Images& images, const Shape& layout,
                     std::size_t first, std::size_t count, int threads, std::uint8_t* copies) {
    reserve(size_ + count);
    const auto mapping = [&](std::size_t k) { return std::pair(first + k, size_ + k); };
    compute_many(kernels, images, layout, count, threads, mapping, copies);
    size_ += count;
}

void Pyramid::begin(const Kernels& kernels, const panels::Images& images, const Shape& layout,
                    std::size_t count, const std::vector<std::uint32_t>& indices, int threads) {
    reserve(count);
    const auto mapping = [&](std::size_t k) { return std::pair(indices[k], indices[k]); };
    compute_many(kernels, images, layout, indices.size(), threads, mapping, nullptr);
    size_ = count;
}

void Pyramid::complete(const Kernels& kernels, const panels::Images& images, const Shape& layout,
                       const std::vector<std::uint32_t>& indices, int threads) {
    std::vector<std::size_t> others;
    std::size_t p = 0;
    for (std::size_t i = 0; i < size_; ++i) {
        if (p < indices.size() && indices[p] == i) {
            ++p;
        } else {
            others.push_back(i);
        }
    }
    const auto mapping = [&](std::size_t k) { return std::pair(others[k], others[k]); };
    compute_many(kernels, images, layout, others.size(), threads, mapping, nullptr);
}

std::size_t Pyramid::append_read(const Kernels& kernels, const panels::Images& images, const Shape& layout,
                                 std::size_t count, int threads, const Read& read,
                                 std::vector<std::uint8_t>& constant) {
    reserve(size_ + count);
    struct Worker {
        explicit Worker(std::size_t bytes) : image(std::max(bytes, kHugePage)) {}
        AlignedArray<std::uint8_t> image;
        Scratch scratch;
    };
    const std::size_t bytes = panels::image_bytes(images);
    std::vector<std::unique_ptr<Worker>> workers(worker_count(count, threads));
    std::atomic<std::size_t> end{count};
    constant.assign(count, 0);
    parallel_for(count, threads, [&](std::size_t i, std::size_t w) {
        if (i >= end.load(std::memory_order_relaxed)) return;
        if (!workers[w]) workers[w] = std::make_unique<Worker>(bytes);
        std::uint8_t* to = workers[w]->image.data();
        if (!read(i, to)) {
            std::size_t known = end.load();
            while (i < known && !end.compare_exchange_weak(known, i)) {
            }
            return;
        }
        constant[i] = std::memcmp(to, to + shape_.channels, bytes - shape_.channels) == 0;
        if (constant[i] != 0) return;
        panels::Images view = images;
        view.data = to;
        compute(kernels, view, layout, 0, size_ + i, workers[w]->scratch, nullptr);
    });
    constant.resize(end);
    std::size_t kept = 0;
    for (std::size_t i = 0; i < constant.size(); ++i) {
        if (constant[i] != 0) continue;
        for (Level& level : levels_) {
            float* vectors = level.vectors.data() + size_ * level.stride;
            if (kept != i)
                std::memcpy(vectors + kept * level.stride, vectors + i * level.stride,
                            level.stride * sizeof(float));
        }
        ++kept;
    }
    size_ += kept;
    return constant.size();
}

std::size_t Pyramid::first_mismatch(const Pyramid& other, const std::vector<std::size_t>& images) const {
    std::size_t at = 0;
    for (; at < other.size_; ++at) {
        for (std::size_t l = 0; l < levels_.size(); ++l) {
            const Level& mine = levels_[l];
            const float* theirs = other.levels_[l].image(at);
            if (std::memcmp(mine.image(images[at]), theirs, mine.stride * sizeof(float)) != 0) return at;
        }
    }
    return at;
}

void Pyramid::append(const Pyramid& other, const std::vector<std::uint32_t>& indices) {
    reserve(size_ + indices.size());
    for (std::size_t l = 0; l < levels_.size(); ++l) {
        Level& level = levels_[l];
        for (std::size_t k = 0; k < indices.size(); ++k) {
            std::memcpy(level.vectors.data() + (size_ + k) * level.stride, other.levels_[l].image(indices[k]),
                        level.stride * sizeof(float));
        }
    }
    size_ += indices.size();
}

void Pyramid::sum_blocks(const Kernels& kernels, const panels::Images& images, const Shape& layout,
                         const std::uint8_t* image, Scratch& scratch, std::uint8_t* copy) const {
    const panels::Grid& grid = layout.grid;
    const std::size_t side = levels_.back().side, blocks = levels_.back().rows - 1,
                      step = layout.line_channels;
    const std::size_t column_stride = round_up(grid.line_bytes, kAlignment);
    const std::size_t most_lines =
        std::min(kMaxLines, std::max<std::size_t>(1, kMaxCallBytes / grid.line_bytes));
    for (std::size_t band = 0; band < grid.planes * grid.tile_rows * side; ++band) {
        const std::size_t plane = band / (grid.tile_rows * side), tile_row = band / side % grid.tile_rows;
        const std::size_t by = band % side;
        const std::size_t begin = block_start(by, grid.tile_height, side);
        const std::size_t end = block_start(by + 1, grid.tile_height, side);
        for (std::size_t y = begin; y < end;) {
            const std::size_t lines = std::min(most_lines, end - y);
            const std::uint8_t* data =
                panels::tile_line(images, grid, image, tile_row, 0, plane * grid.tile_height + y);
            std::uint8_t* const lines_copy =
                copy == nullptr ? nullptr : copy + (tile_row * grid.tile_height + y) * images.row_bytes;
            kernels.column_sums(data, images.row_stride, lines, grid.tile_columns, grid.line_bytes,
                                scratch.columns.data(), column_stride, scratch.call_squares.data(),
                                lines_copy, images.row_bytes);
            const std::size_t width = fold_width(shape_.tile_width(), side, lines);
            for (std::size_t tx = 0; tx < grid.tile_columns; ++tx) {
                const std::size_t tile = tile_row * grid.tile_columns + tx;
                scratch.squares[tile] += scratch.call_squares[tx];
                std::uint16_t* columns = scratch.columns.data() + tx * column_stride;
                if (width > 1) kernels.fold(columns, grid.line_bytes, step, width);
                std::uint32_t* sums = scratch.sums.data() + tile / kLanes * blocks * kLanes + tile % kLanes;
                std::uint32_t* sum = sums + (by * side * shape_.channels + plane) * kLanes;
                for (std::size_t bx = 0; bx < side; ++bx, sum += shape_.channels * kLanes) {
                    for (std::size_t x = column_starts_[bx]; x < column_starts_[bx + 1]; x += width) {
                        for (std::size_t c = 0; c < step; ++c) sum[c * kLanes] += columns[x * step + c];
                    }
                }
            }
            y += lines;
        }
    }
}

void Pyramid::compute(const Kernels& kernels, const panels::Images& images, const Shape& layout,
                      std::size_t from, std::size_t to, Scratch& scratch, std::uint8_t* copy) {
    const std::size_t blocks = levels_.back().rows - 1;
    if (scratch.squares.empty()) {
        const std::size_t column_stride = round_up(layout.grid.line_bytes, kAlignment);
        // fold reads ahead by up to half a block's width, which is less than a line.
        scratch.columns =
            AlignedArray<std::uint16_t>((shape_.grid.tile_columns + 1) * column_stride + kAlignment);
        scratch.sums = AlignedArray<std::uint32_t>(groups_ * blocks * kLanes);
        scratch.coarse = AlignedArray<std::uint32_t>(groups_ * blocks * kLanes);
        scratch.squares.resize(groups_ * kLanes);
        scratch.call_squares.resize(shape_.grid.tile_columns);
    }
    scratch.sums.clear();
    std::fill(scratch.squares.begin(), scratch.squares.end(), 0);
    sum_blocks(kernels, images, layout, images.image(0, from), scratch, copy);

    for (Level& level : levels_) {
        const std::size_t level_blocks = level.rows - 1;
        const std::uint32_t* sums = scratch.sums.data();
        if (level_blocks != blocks) {
            std::memset(scratch.coarse.data(), 0, groups_ * level_blocks * kLanes * sizeof(std::uint32_t));
            for (std::size_t g = 0; g < groups_; ++g) {
                for (std::size_t b = 0; b < blocks; ++b) {
                    std::uint32_t* to_lanes =
                        scratch.coarse.data() + (g * level_blocks + level.parent[b]) * kLanes;
                    const std::uint32_t* from_lanes = scratch.sums.data() + (g * blocks + b) * kLanes;
                    for (std::size_t lane = 0; lane < kLanes; ++lane) to_lanes[lane] += from_lanes[lane];
                }
            }
            sums = scratch.coarse.data();
        }
        for (std::size_t g = 0; g < groups_; ++g) {
            double energy[kLanes] = {};
            float* vector = level.vectors.data() + to * level.stride + g * level.rows * kLanes;
            kernels.normalise(sums + g * level_blocks * kLanes, level.scale.data(), level.inverse.data(),
                              level_blocks, vector, energy);
            for (std::size_t lane = 0; lane < kLanes; ++lane) {
                const double left = static_cast<double>(scratch.squares[g * kLanes + lane]) - energy[lane];
                vector[level_blocks * kLanes + lane] = static_cast<float>(std::sqrt(std::max(left, 0.0)));
            }
        }
    }
}

}  // namespace memcore::graph
