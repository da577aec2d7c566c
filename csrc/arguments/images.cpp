#include "arguments/images.hpp"

#include <string>

#include "runtime/argument_error.hpp"

namespace memcore::arguments {

ImageSet view(const Layout& layout, std::size_t element_bytes) {
    ImageSet set;
    set.images.data = layout.data;
    // The stride of a dimension of length 1 means nothing: whatever it is, even a pointer that is
    // stepped beyond its end must not wrap around.
    set.images.batches = layout.batches;
    set.images.batch_stride = layout.batches == 1 ? 0 : layout.batch_stride;
    set.images.count = layout.count;
    set.images.height = layout.height;
    set.width = layout.width;
    set.channels = layout.channels;
    set.images.image_stride = layout.count == 1 ? 0 : layout.image_stride;
    const auto element = static_cast<std::ptrdiff_t>(element_bytes);
    const bool channels_adjacent = layout.channels == 1 || layout.channel_stride == element;
    const bool pixels_adjacent =
        layout.width == 1 || layout.column_stride == static_cast<std::ptrdiff_t>(layout.channels) * element;
    if (channels_adjacent && pixels_adjacent) {
        set.images.planes = 1;
        set.images.row_bytes = layout.width * layout.channels * element_bytes;
    } else if (layout.width == 1 || layout.column_stride == element) {
        set.planar = true;
        set.images.planes = layout.channels;
        set.images.plane_stride = layout.channel_stride;
        set.images.row_bytes = layout.width * element_bytes;
    } else {
        throw ArgumentError(
            "strides: tiles cannot be read in place; rows of pixels or of one channel must be contiguous",
            Fault::kStrides);
    }
    set.images.row_stride =
        layout.height == 1 ? static_cast<std::ptrdiff_t>(set.images.row_bytes) : layout.row_stride;
    return set;
}

panels::Grid make_grid(const ImageSet& a, const ImageSet* other, std::int64_t tile_height,
                       std::int64_t tile_width, std::size_t element_bytes) {
    const std::size_t height = a.images.height, width = a.width;
    if (height == 0 || width == 0 || a.channels == 0)
        throw ArgumentError("images must have at least one pixel");
    if (tile_height < 1 || tile_width < 1 || height % static_cast<std::size_t>(tile_height) != 0 ||
        width % static_cast<std::size_t>(tile_width) != 0) {
        throw ArgumentError("tile: " + std::to_string(tile_height) + " x " + std::to_string(tile_width) +
                            " does not divide images of " + std::to_string(height) + " x " +
                            std::to_string(width));
    }
    if (other != nullptr) {
        if (other->images.height != height || other->width != width || other->channels != a.channels ||
            other->images.batches != a.images.batches) {
            throw ArgumentError("other: shape differs from that of images");
        }
        // The order of a tile's bytes is that of memory, so it has to be the same on both sides.
        if (other->planar != a.planar)
            throw ArgumentError("strides: one array is channels first and the other last", Fault::kStrides);
    }
    panels::Grid grid;
    grid.tile_height = static_cast<std::size_t>(tile_height);
    grid.tile_rows = height / grid.tile_height;
    grid.tile_columns = width / static_cast<std::size_t>(tile_width);
    grid.planes = a.images.planes;
    grid.line_bytes = a.images.row_bytes / grid.tile_columns;
    if (grid.line_bytes % element_bytes != 0) throw ArgumentError("tile: lines are not whole elements");
    return grid;
}

graph::Shape make_shape(const ImageSet& set, const panels::Grid& grid) {
    return {grid, set.channels, set.planar ? 1 : set.channels};
}

void check_vertices(const ImageSet& set) {
    if (set.images.count > 0x7fffffffU) {
        throw ArgumentError("images: a graph has at most 2^31 - 1, got " + std::to_string(set.images.count));
    }
}

}  // namespace memcore::arguments
