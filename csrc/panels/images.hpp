// The layout of images and their tiles in memory. Nothing is copied: a view is a pointer and strides.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace memcore::panels {

// Sets of images. A row is contiguous: all channels of it (channels last, one plane) or one channel (channels
// first).
struct Images {
    const std::uint8_t* data = nullptr;
    std::size_t batches = 1, count = 0, planes = 1, height = 0;
    std::size_t row_bytes = 0;
    std::ptrdiff_t batch_stride = 0, image_stride = 0, plane_stride = 0, row_stride = 0;
    const std::uint32_t* selection =
        nullptr;  // where given, image i of the set is image selection[i] in memory

    const std::uint8_t* image(std::size_t batch, std::size_t index) const {
        const std::size_t position = selection == nullptr ? index : selection[index];
        return data + static_cast<std::ptrdiff_t>(batch) * batch_stride +
               static_cast<std::ptrdiff_t>(position) * image_stride;
    }
};

// The grid cut over every image. A tile is `lines()` lines of `line_bytes` bytes: plane by plane, then row by
// row.
struct Grid {
    std::size_t tile_rows = 1, tile_columns = 1;
    std::size_t tile_height = 1, line_bytes = 1, planes = 1;

    std::size_t lines() const { return planes * tile_height; }
    std::size_t tile_bytes() const { return lines() * line_bytes; }
};

// First byte of line `line` of tile (row, column) of the image that starts at `image`.
inline const std::uint8_t* tile_line(const Images& images, const Grid& grid, const std::uint8_t* image,
                                     std::size_t tile_row, std::size_t tile_column, std::size_t line) {
    const std::size_t plane = line / grid.tile_height,
                      y = tile_row * grid.tile_height + line % grid.tile_height;
    return image + static_cast<std::ptrdiff_t>(plane) * images.plane_stride +
           static_cast<std::ptrdiff_t>(y) * images.row_stride +
           static_cast<std::ptrdiff_t>(tile_column * grid.line_bytes);
}

// Joins a tile's rows into one long line where they are whole rows without gaps: the bytes and their order do
// not change.
inline void join_lines(Images& a, Images* b, Grid& grid) {
    const auto follow = [](const Images& v) {
        return v.row_stride == static_cast<std::ptrdiff_t>(v.row_bytes);
    };
    if (grid.tile_columns != 1 || grid.tile_height == 1 || !follow(a) || (b != nullptr && !follow(*b)))
        return;
    const auto join = [&](Images& v) {
        v.row_bytes *= grid.tile_height;
        v.row_stride *= static_cast<std::ptrdiff_t>(grid.tile_height);
        v.height = grid.tile_rows;
    };
    join(a);
    if (b != nullptr && b != &a) join(*b);
    grid.line_bytes *= grid.tile_height;
    grid.tile_height = 1;
}

// A part of every tile that is processed at once: bytes [byte, byte + bytes) of lines [line, line + lines).
struct Chunk {
    std::size_t line, lines, byte, bytes;
    std::size_t size() const { return lines * bytes; }
};

// Cuts a tile into chunks of about `target` bytes: whole lines, or pieces of one line where lines are longer
// than that.
inline std::vector<Chunk> make_chunks(const Grid& grid, std::size_t target) {
    std::vector<Chunk> chunks;
    if (grid.line_bytes <= target) {
        const std::size_t parts = (grid.tile_bytes() + target - 1) / target;
        const std::size_t lines = (grid.lines() + parts - 1) / parts;
        for (std::size_t l = 0; l < grid.lines(); l += lines) {
            chunks.push_back({l, std::min(lines, grid.lines() - l), 0, grid.line_bytes});
        }
        return chunks;
    }
    for (std::size_t l = 0; l < grid.lines(); ++l) {
        for (std::size_t k = 0; k < grid.line_bytes; k += target) {
            chunks.push_back({l, 1, k, std::min(target, grid.line_bytes - k)});
        }
    }
    return chunks;
}

}  // namespace memcore::panels
