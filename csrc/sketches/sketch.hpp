// Sketches of images: see contract.hpp.
#pragma once

#include <cstddef>
#include <cstdint>

namespace memcore::sketches {

// `count` images (height, width, channels) that lie one after another; blocks are height / rows by width /
// columns pixels.
struct SketchShape {
    std::size_t height, width, channels, rows, columns;

    std::size_t block_height() const { return height / rows; }
    std::size_t block_width() const { return width / columns; }
    std::size_t block_pixels() const { return block_height() * block_width(); }
    std::size_t blocks() const { return rows * columns * channels; }
    std::size_t image_bytes() const { return height * width * channels; }
};

// Whether the sums of a shape fit 64 bits: block_pixels * |x|^2 does.
bool fits(const SketchShape& shape);

// out[i * (blocks + 4) ...]: means by (row, column, channel), then four times the residual.
void sketch(const std::uint8_t* images, std::size_t count, const SketchShape& shape, std::uint8_t* out,
            int threads);

}  // namespace memcore::sketches
