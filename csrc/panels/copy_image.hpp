// Copies of an image with channels last and without gaps.
#pragma once

#include <cstddef>
#include <cstdint>

#include "panels/images.hpp"

namespace memcore::panels {

inline std::size_t image_bytes(const Images& images) {
    return images.planes * images.height * images.row_bytes;
}

// Copies of images of this size or more leave the cache before they are read again, so they are written past
// it.
inline constexpr std::size_t kPastCacheBytes = 1UL << 18;
// Orders this thread's writes past the cache before its later writes, as other threads see them.
void order_copies();

// Writes image_bytes(images) bytes of image `index` of batch 0, elements of one byte, in the order (row,
// column, channel).
void copy_image(const Images& images, std::size_t index, std::uint8_t* to);

}  // namespace memcore::panels
