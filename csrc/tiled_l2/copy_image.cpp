#include "tiled_l2/copy_image.hpp"

#include <cstring>

namespace memcore::tiled_l2 {
namespace {

template <std::size_t PLANES>
void interleave(const std::uint8_t* from, std::ptrdiff_t plane_stride, std::size_t width, std::uint8_t* to) {
    const std::uint8_t* plane[PLANES];
    for (std::size_t p = 0; p < PLANES; ++p) plane[p] = from + static_cast<std::ptrdiff_t>(p) * plane_stride;
    for (std::size_t x = 0; x < width; ++x) {
        for (std::size_t p = 0; p < PLANES; ++p) to[x * PLANES + p] = plane[p][x];
    }
}

void interleave_any(const std::uint8_t* from, std::ptrdiff_t plane_stride, std::size_t planes,
                    std::size_t width, std::uint8_t* to) {
    for (std::size_t p = 0; p < planes; ++p) {
        const std::uint8_t* plane = from + static_cast<std::ptrdiff_t>(p) * plane_stride;
        for (std::size_t x = 0; x < width; ++x) to[x * planes + p] = plane[x];
    }
}

}  // namespace

void copy_image(const Images& images, std::size_t index, std::uint8_t* to) {
    const std::uint8_t* from = images.image(0, index);
    const bool rows_follow = images.row_stride == static_cast<std::ptrdiff_t>(images.row_bytes);
    if (images.planes == 1 && rows_follow) {
        std::memcpy(to, from, image_bytes(images));
        return;
    }
    for (std::size_t y = 0; y < images.height; ++y, from += images.row_stride) {
        switch (images.planes) {
            case 1:
                std::memcpy(to, from, images.row_bytes);
                break;
            case 3:
                interleave<3>(from, images.plane_stride, images.row_bytes, to);
                break;
            case 4:
                interleave<4>(from, images.plane_stride, images.row_bytes, to);
                break;
            default:
                interleave_any(from, images.plane_stride, images.planes, images.row_bytes, to);
        }
        to += images.planes * images.row_bytes;
    }
}

}  // namespace memcore::tiled_l2
