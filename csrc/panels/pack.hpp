// Gathers the lines of tiles and packs them into panels (contract.hpp).
#pragma once

#include <cstddef>
#include <cstdint>

#include "panels/contract.hpp"
#include "panels/images.hpp"
#include "runtime/aligned.hpp"

namespace memcore::panels {

// The side of a product that panels are for: it selects which of two forms are packed.
enum class Side { kRows, kColumns, kBoth };

// Panels of one chunk of `tiles` neighbouring tiles of up to `images` images, with the sums that the chunks
// add up to.
class Panels {
  public:
    Panels() = default;
    Panels(const Kernels& kernels, Side side, std::size_t images, std::size_t tiles, std::size_t chunk_bytes);

    std::size_t count() const { return panels_; }
    std::size_t stride() const { return stride_; }
    std::size_t steps() const { return steps_; }  // of the chunk that was packed last
    const std::uint8_t* as_rows(std::size_t tile, std::size_t panel) const {
        return (row_layout_.size() != 0 ? row_layout_ : bytes_).data() + (tile * panels_ + panel) * stride_;
    }
    const std::uint8_t* as_columns(std::size_t tile, std::size_t panel) const {
        return bytes_.data() + (tile * panels_ + panel) * stride_;
    }
    const std::uint32_t* sums(std::size_t tile) const { return sums_.data() + tile * panels_ * kPanelImages; }
    const std::uint32_t* squares(std::size_t tile) const {
        return squares_.data() + tile * panels_ * kPanelImages;
    }
    void clear_sums();

    // Packs `chunk` of tiles [tile_column, tile_column + tiles) of images [first, first + count).
    void pack(const Images& images, const Grid& grid, std::size_t batch, std::size_t first, std::size_t count,
              std::size_t tile_row, std::size_t tile_column, std::size_t tiles, const Chunk& chunk);

  private:
    const Kernels* kernels_ = nullptr;
    std::size_t panels_ = 0, stride_ = 0, steps_ = 0;
    std::size_t row_stride_ = 0;
    AlignedArray<std::uint8_t> bytes_, row_layout_;  // the second is the form for rows; either may be empty
    AlignedArray<std::uint8_t> rows_;                // 16 images' lines, one after another
    AlignedArray<std::uint32_t> sums_, squares_;
};

}  // namespace memcore::panels
