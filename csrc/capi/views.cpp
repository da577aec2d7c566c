#include "capi/views.hpp"

#include <string>

#include "capi/status.hpp"

namespace memcore::capi {
namespace {

constexpr std::size_t kMaxChannels = 4;

// Offsets that a view reaches, from its first element.
class Reach {
  public:
    explicit Reach(const char* name) : name_(name) {}

    void add(std::size_t length, std::ptrdiff_t stride, const char* dimension, const char* what) {
        if (length == 0) throw ArgumentError(name_ + ": " + dimension + " must be at least 1, got 0");
        if (length == 1) return;
        if (stride == 0) {
            throw ArgumentError(name_ + ": " + what + " must not be 0 for " + std::to_string(length) +
                                    " of them; memcore_*_init sets strides without gaps",
                                Fault::kStrides);
        }
        std::ptrdiff_t far = 0;
        std::ptrdiff_t& end = stride < 0 ? low_ : high_;
        if (length - 1 > static_cast<std::size_t>(PTRDIFF_MAX) ||
            __builtin_mul_overflow(static_cast<std::ptrdiff_t>(length - 1), stride, &far) ||
            __builtin_add_overflow(end, far, &end)) {
            throw ArgumentError(name_ + ": " + dimension + " " + std::to_string(length) + " x " + what + " " +
                                    std::to_string(stride) + " does not fit an address",
                                Fault::kOverflow);
        }
    }

    // Throws unless elements of that many bytes at data + offset + low .. data + offset + high lie within
    // data[0 .. bytes).
    void check(std::size_t offset, std::size_t bytes, std::size_t element = 1) const {
        const auto below = static_cast<std::size_t>(-(low_ + 1)) + 1;  // -low without overflow
        const auto above = static_cast<std::size_t>(high_);
        if (offset < bytes && below <= offset && element <= bytes - offset &&
            above <= bytes - offset - element)
            return;
        throw ArgumentError(name_ + ": sizes and strides reach from " + std::to_string(low_) + " to " +
                                std::to_string(high_) + " around offset " + std::to_string(offset) +
                                ", beyond data_bytes = " + std::to_string(bytes),
                            Fault::kExtent);
    }

  private:
    const std::string name_;
    std::ptrdiff_t low_ = 0, high_ = 0;
};

arguments::ImageSet view_checked(const memcore_batch& batch, const char* name) {
    const std::size_t element = element_bytes(batch.type, name);
    check_pointer(batch.data, (std::string(name) + ".data").c_str());
    if (batch.channels < 1 || batch.channels > kMaxChannels) {
        throw ArgumentError(std::string(name) + ": channels must be in [1, 4], got " +
                            std::to_string(batch.channels));
    }
    Reach reach(name);
    reach.add(batch.batches, batch.batch_stride, "batches", "batch_stride");
    reach.add(batch.count, batch.image_stride, "count", "image_stride");
    reach.add(batch.height, batch.row_stride, "height", "row_stride");
    reach.add(batch.width, batch.column_stride, "width", "column_stride");
    reach.add(batch.channels, batch.channel_stride, "channels", "channel_stride");
    reach.check(batch.offset, batch.data_bytes, element);

    arguments::Layout layout;
    layout.data = static_cast<const std::uint8_t*>(batch.data) + batch.offset;
    layout.batches = batch.batches;
    layout.count = batch.count;
    layout.height = batch.height;
    layout.width = batch.width;
    layout.channels = batch.channels;
    layout.batch_stride = batch.batch_stride;
    layout.image_stride = batch.image_stride;
    layout.row_stride = batch.row_stride;
    layout.column_stride = batch.column_stride;
    layout.channel_stride = batch.channel_stride;
    return arguments::view(layout, element);
}

memcore_batch one_batch(const memcore_images& images) {
    memcore_batch batch = {};
    batch.data = images.data;
    batch.data_bytes = images.data_bytes;
    batch.offset = images.offset;
    batch.type = MEMCORE_UINT8;
    batch.batches = 1;
    batch.count = images.count;
    batch.height = images.height;
    batch.width = images.width;
    batch.channels = images.channels;
    batch.image_stride = images.image_stride;
    batch.row_stride = images.row_stride;
    batch.column_stride = images.column_stride;
    batch.channel_stride = images.channel_stride;
    return batch;
}

memcore_batch without_gaps(const void* data, std::int32_t type, std::size_t batches, std::size_t count,
                           std::size_t height, std::size_t width, std::size_t channels, std::int32_t layout,
                           const char* name) {
    check_pointer(data, "data");
    const std::size_t element = element_bytes(type, name);
    if (layout != MEMCORE_CHANNELS_LAST && layout != MEMCORE_CHANNELS_FIRST) {
        throw ArgumentError("layout must be MEMCORE_CHANNELS_LAST (0) or MEMCORE_CHANNELS_FIRST (1), got " +
                            std::to_string(layout));
    }
    const bool last = layout == MEMCORE_CHANNELS_LAST;
    const std::size_t pixel = last ? product(channels, element, "pixel bytes") : element;
    const std::size_t row = product(width, pixel, "row bytes");
    const std::size_t plane = product(height, row, "plane bytes");
    const std::size_t image = last ? plane : product(plane, channels, "image bytes");
    const std::size_t set = product(count, image, "bytes of all images");
    const std::size_t all = product(batches, set, "bytes of all images");
    if (all > static_cast<std::size_t>(PTRDIFF_MAX)) {
        throw ArgumentError("bytes of all images: " + std::to_string(all) + " does not fit an address",
                            Fault::kOverflow);
    }
    memcore_batch made = {};
    made.struct_size = sizeof(made);
    made.data = data;
    made.data_bytes = all;
    made.type = type;
    made.batches = batches;
    made.count = count;
    made.height = height;
    made.width = width;
    made.channels = channels;
    made.batch_stride = static_cast<std::ptrdiff_t>(set);
    made.image_stride = static_cast<std::ptrdiff_t>(image);
    made.row_stride = static_cast<std::ptrdiff_t>(row);
    made.column_stride = static_cast<std::ptrdiff_t>(pixel);
    made.channel_stride = static_cast<std::ptrdiff_t>(last ? element : plane);
    view_checked(made, name);
    return made;
}

}  // namespace

std::size_t element_bytes(std::int32_t type, const char* name) {
    switch (type) {
        case MEMCORE_UINT8:
            return 1;
        case MEMCORE_FLOAT32:
            return 4;
        case MEMCORE_FLOAT16:
        case MEMCORE_BFLOAT16:
            return 2;
        default:
            throw ArgumentError(std::string(name) +
                                ": type must be MEMCORE_UINT8 (0), MEMCORE_FLOAT32 (1), MEMCORE_FLOAT16 (2) "
                                "or MEMCORE_BFLOAT16 (3), got " +
                                std::to_string(type));
    }
}

arguments::ImageSet view(const memcore_images* images, const char* name) {
    check_pointer(images, name);
    check_struct_size(images->struct_size, sizeof(memcore_images), "memcore_images");
    return view_checked(one_batch(*images), name);
}

arguments::ImageSet view(const memcore_batch* batch, const char* name) {
    check_pointer(batch, name);
    check_struct_size(batch->struct_size, sizeof(memcore_batch), "memcore_batch");
    return view_checked(*batch, name);
}

panels::Grid make_grid(const arguments::ImageSet& a, const arguments::ImageSet* other,
                       std::size_t tile_height, std::size_t tile_width, std::size_t element) {
    const auto check = [](std::size_t tile, std::size_t image, const char* name) {
        if (tile >= 1 && tile <= image) return;
        throw ArgumentError(std::string(name) + " must be in [1, " + std::to_string(image) + "], got " +
                            std::to_string(tile));
    };
    check(tile_height, a.images.height, "tile_height");
    check(tile_width, a.width, "tile_width");
    // Rows may overlap, so a tile can have more bytes than the images' memory.
    const std::size_t bytes = product(product(tile_height, tile_width, "tile"), a.channels, "tile");
    if (bytes > kMaxTileBytes64) {
        throw ArgumentError(
            "tile: the sum of " + std::to_string(bytes) + " squared differences does not fit 64 bits",
            Fault::kOverflow);
    }
    return arguments::make_grid(a, other, static_cast<std::int64_t>(tile_height),
                                static_cast<std::int64_t>(tile_width), element);
}

knn::Rows view(const memcore_rows* rows, const char* name) {
    check_pointer(rows, name);
    check_struct_size(rows->struct_size, sizeof(memcore_rows), "memcore_rows");
    check_pointer(rows->data, (std::string(name) + ".data").c_str());
    Reach reach(name);
    reach.add(rows->count, rows->stride, "count", "stride");
    reach.add(rows->dimension, 1, "dimension", "element");
    reach.check(rows->offset, rows->data_bytes);
    return {rows->data + rows->offset, rows->count, rows->stride};
}

}  // namespace memcore::capi

using memcore::ArgumentError;
using namespace memcore::capi;

extern "C" {

memcore_status memcore_images_init(memcore_images* images, const uint8_t* data, size_t count, size_t height,
                                   size_t width, size_t channels, int32_t layout) {
    return guarded([&] {
        check_pointer(images, "images");
        const memcore_batch batch =
            without_gaps(data, MEMCORE_UINT8, 1, count, height, width, channels, layout, "images");
        memcore_images made = {};
        made.struct_size = sizeof(made);
        made.data = data;
        made.data_bytes = batch.data_bytes;
        made.count = count;
        made.height = height;
        made.width = width;
        made.channels = channels;
        made.image_stride = batch.image_stride;
        made.row_stride = batch.row_stride;
        made.column_stride = batch.column_stride;
        made.channel_stride = batch.channel_stride;
        *images = made;
    });
}

memcore_status memcore_batch_init(memcore_batch* batch, const void* data, int32_t type, size_t batches,
                                  size_t count, size_t height, size_t width, size_t channels,
                                  int32_t layout) {
    return guarded([&] {
        check_pointer(batch, "batch");
        *batch = without_gaps(data, type, batches, count, height, width, channels, layout, "batch");
    });
}

memcore_status memcore_rows_init(memcore_rows* rows, const uint8_t* data, size_t count, size_t dimension) {
    return guarded([&] {
        check_pointer(rows, "rows");
        check_pointer(data, "data");
        memcore_rows made = {};
        made.struct_size = sizeof(made);
        made.data = data;
        made.data_bytes = product(count, dimension, "bytes of all rows");
        made.count = count;
        made.dimension = dimension;
        if (dimension > static_cast<std::size_t>(PTRDIFF_MAX)) {
            throw ArgumentError("dimension: " + std::to_string(dimension) + " does not fit an address",
                                memcore::Fault::kOverflow);
        }
        made.stride = static_cast<ptrdiff_t>(dimension);
        view(&made, "rows");
        *rows = made;
    });
}
}
