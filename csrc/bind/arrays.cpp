#include "bind/arrays.hpp"

#include <string>

namespace memcore::bind {
namespace {

std::string join_names() {
    std::string names;
    for (const Isa* isa : available_isas()) names += (names.empty() ? "" : ", ") + std::string(isa->name);
    return names;
}

}  // namespace

const Isa& resolve_isa() {
    const Isa* isa = active_isa();
    if (isa == nullptr) {
        throw py::value_error("MEMCORE_ISA=" + std::string(requested_isa()) +
                              " is unknown or not supported by this CPU; available: " + join_names());
    }
    return *isa;
}

ImageSet view_images(const py::array& array, std::size_t element_bytes) {
    const auto dims = array.ndim();
    if (dims != 4 && dims != 5)
        throw py::value_error("images must have 4 or 5 dimensions, got " + std::to_string(dims));
    if (static_cast<std::size_t>(array.itemsize()) != element_bytes) {
        throw py::type_error("images must have elements of " + std::to_string(element_bytes) + " bytes");
    }
    const py::ssize_t* shape = array.shape() + (dims - 4);
    const py::ssize_t* strides = array.strides() + (dims - 4);
    ImageSet set;
    set.images.data = static_cast<const std::uint8_t*>(array.data());
    set.images.batches = dims == 5 ? static_cast<std::size_t>(array.shape(0)) : 1;
    set.images.batch_stride = dims == 5 ? array.strides(0) : 0;
    set.images.count = static_cast<std::size_t>(shape[0]);
    set.images.height = static_cast<std::size_t>(shape[1]);
    set.width = static_cast<std::size_t>(shape[2]);
    set.channels = static_cast<std::size_t>(shape[3]);
    set.images.image_stride = strides[0];
    set.images.row_stride = strides[1];
    const auto element = static_cast<py::ssize_t>(element_bytes);
    // A dimension of length 1 has no stride to speak of.
    const bool channels_adjacent = shape[3] == 1 || strides[3] == element;
    const bool pixels_adjacent = shape[2] == 1 || strides[2] == shape[3] * element;
    if (channels_adjacent && pixels_adjacent) {
        set.images.planes = 1;
        set.images.row_bytes = set.width * set.channels * element_bytes;
    } else if (shape[2] == 1 || strides[2] == element) {
        set.planar = true;
        set.images.planes = set.channels;
        set.images.plane_stride = strides[3];
        set.images.row_bytes = set.width * element_bytes;
    } else {
        throw py::value_error(
            "strides: tiles cannot be read in place; rows of pixels or of one channel must be contiguous");
    }
    return set;
}

tiled_l2::Grid make_grid(const ImageSet& a, const ImageSet* other, long tile_height, long tile_width,
                         std::size_t element_bytes) {
    const std::size_t height = a.images.height, width = a.width;
    if (height == 0 || width == 0 || a.channels == 0)
        throw py::value_error("images must have at least one pixel");
    if (tile_height < 1 || tile_width < 1 || height % static_cast<std::size_t>(tile_height) != 0 ||
        width % static_cast<std::size_t>(tile_width) != 0) {
        throw py::value_error("tile: " + std::to_string(tile_height) + " x " + std::to_string(tile_width) +
                              " does not divide images of " + std::to_string(height) + " x " +
                              std::to_string(width));
    }
    if (other != nullptr) {
        if (other->images.height != height || other->width != width || other->channels != a.channels ||
            other->images.batches != a.images.batches) {
            throw py::value_error("other: shape differs from that of images");
        }
        // The order of a tile's bytes is that of memory, so it has to be the same on both sides.
        if (other->planar != a.planar)
            throw py::value_error("strides: one array is channels first and the other last");
    }
    tiled_l2::Grid grid;
    grid.tile_height = static_cast<std::size_t>(tile_height);
    grid.tile_rows = height / grid.tile_height;
    grid.tile_columns = width / static_cast<std::size_t>(tile_width);
    grid.planes = a.images.planes;
    grid.line_bytes = a.images.row_bytes / grid.tile_columns;
    if (grid.line_bytes % element_bytes != 0) throw py::value_error("tile: lines are not whole elements");
    return grid;
}

void check_out(const py::array& out, std::size_t batches, std::size_t rows, std::size_t columns,
               std::size_t element_bytes) {
    const bool shape = out.ndim() == 3 && static_cast<std::size_t>(out.shape(0)) == batches &&
                       static_cast<std::size_t>(out.shape(1)) == rows &&
                       static_cast<std::size_t>(out.shape(2)) == columns;
    if (!shape) throw py::value_error("out must have shape (batches, N, M)");
    if (static_cast<std::size_t>(out.itemsize()) != element_bytes) {
        throw py::type_error("out must have elements of " + std::to_string(element_bytes) + " bytes");
    }
    if (!(out.flags() & py::array::c_style)) throw py::value_error("out must be C-contiguous");
    if (!out.writeable()) throw py::value_error("out must be writable");
}

int check_threads(long threads) {
    if (threads < 0 || threads > 4096)
        throw py::value_error("threads must be in [0, 4096], got " + std::to_string(threads));
    return static_cast<int>(threads);
}

}  // namespace memcore::bind
