// Checks of images as callers describe them, and the views of them that the core works on.
#pragma once

#include <cstddef>
#include <cstdint>

#include "graph/pyramid.hpp"
#include "panels/images.hpp"

namespace memcore::arguments {

// (batches, count, height, width, channels) elements with any strides, in bytes; data is the first element.
struct Layout {
    const std::uint8_t* data = nullptr;
    std::size_t batches = 1, count = 0, height = 0, width = 0, channels = 0;
    std::ptrdiff_t batch_stride = 0, image_stride = 0, row_stride = 0, column_stride = 0, channel_stride = 0;
};

struct ImageSet {
    panels::Images images;
    std::size_t width = 0, channels = 0;
    bool planar = false;  // channels first in memory
};

// Throws unless tiles can be read in place: rows of interleaved pixels, or of one channel, are contiguous.
ImageSet view(const Layout& layout, std::size_t element_bytes);

// Throws unless tiles of that many pixels divide the images, and both sets have one layout.
panels::Grid make_grid(const ImageSet& a, const ImageSet* other, std::int64_t tile_height,
                       std::int64_t tile_width, std::size_t element_bytes);

graph::Shape make_shape(const ImageSet& set, const panels::Grid& grid);

// Throws where int32 cannot number the graph's vertices.
void check_vertices(const ImageSet& set);

}  // namespace memcore::arguments
