#include "panels/pack.hpp"

#include <algorithm>
#include <cstring>

namespace memcore::panels {
namespace {

// Prefetches the bytes of the image that is copied next: each image is a new stream, whose first lines the
// hardware would otherwise wait for. They go to the second-level cache: in the first-level cache, images at a
// distance of a multiple of its way size evict one another.
void prefetch(const std::uint8_t* data, std::size_t bytes) {
    for (std::size_t k = 0; k < bytes; k += kAlignment) __builtin_prefetch(data + k, 0, 2);
}

}  // namespace

Panels::Panels(const Kernels& kernels, Side side, std::size_t images, std::size_t tiles,
               std::size_t chunk_bytes)
    : kernels_(&kernels),
      panels_((images + kPanelImages - 1) / kPanelImages),
      // The strides of panels and rows include one spare cache line: at powers of two they would share sets
      // of the first-level cache.
      stride_(round_up(chunk_bytes, kPackBlock) / kernels.step_bytes * kPanelStep + kAlignment),
      row_stride_(round_up(chunk_bytes, kPackBlock) + kPackBlock),
      bytes_(kernels.separate_row_layout && side == Side::kRows ? 0 : tiles * panels_ * stride_),
      row_layout_(kernels.separate_row_layout && side != Side::kColumns ? tiles * panels_ * stride_ : 0),
      rows_(tiles * kPanelImages * row_stride_),
      sums_(tiles * panels_ * kPanelImages),
      squares_(tiles * panels_ * kPanelImages) {}

void Panels::clear_sums() {
    sums_.clear();
    squares_.clear();
}

void Panels::pack(const Images& images, const Grid& grid, std::size_t batch, std::size_t first,
                  std::size_t count, std::size_t tile_row, std::size_t tile_column, std::size_t tiles,
                  const Chunk& chunk) {
    steps_ = (chunk.size() + kernels_->step_bytes - 1) / kernels_->step_bytes;
    const std::size_t padding = round_up(chunk.size(), kPackBlock) - chunk.size();
    for (std::size_t begin = 0; begin < count; begin += kPanelImages) {
        const std::size_t rows = std::min<std::size_t>(kPanelImages, count - begin);
        // Images are copied one by one, all their tiles at once: reads follow memory, and the 16 images,
        // whose distance is often a multiple of the caches' way size, do not evict one another as they would
        // if read in step.
        for (std::size_t i = 0; i < rows; ++i) {
            const std::uint8_t* image = images.image(batch, first + begin + i);
            const std::uint8_t* next =
                begin + i + 1 < count ? images.image(batch, first + begin + i + 1) : nullptr;
            for (std::size_t l = 0; l < chunk.lines; ++l) {
                const auto line_of = [&](const std::uint8_t* start) {
                    return tile_line(images, grid, start, tile_row, tile_column, chunk.line + l) + chunk.byte;
                };
                if (next != nullptr) prefetch(line_of(next), (tiles - 1) * grid.line_bytes + chunk.bytes);
                const std::uint8_t* line = line_of(image);
                for (std::size_t t = 0; t < tiles; ++t) {
                    std::uint8_t* row = rows_.data() + (t * kPanelImages + i) * row_stride_;
                    std::memcpy(row + l * chunk.bytes, line + t * grid.line_bytes, chunk.bytes);
                }
            }
            if (padding == 0) continue;
            for (std::size_t t = 0; t < tiles; ++t) {
                std::memset(rows_.data() + (t * kPanelImages + i) * row_stride_ + chunk.size(), 0, padding);
            }
        }
        const std::size_t p = begin / kPanelImages;
        for (std::size_t t = 0; t < tiles; ++t) {
            const std::size_t slot = t * panels_ + p;
            kernels_->pack(rows_.data() + t * kPanelImages * row_stride_, row_stride_, chunk.size(),
                           bytes_.size() != 0 ? bytes_.data() + slot * stride_ : nullptr,
                           row_layout_.size() != 0 ? row_layout_.data() + slot * stride_ : nullptr,
                           sums_.data() + slot * kPanelImages, squares_.data() + slot * kPanelImages);
        }
    }
}

}  // namespace memcore::panels
