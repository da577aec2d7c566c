// An image copied as a caller keeps it: channels last, without gaps.
#pragma once

#include <cstddef>
#include <cstdint>

#include "panels/images.hpp"

namespace memcore::panels {

inline std::size_t image_bytes(const Images& images) {
    return images.planes * images.height * images.row_bytes;
}

// Copies of images so large, among many others, are not read again before they have left the cache: they are
// written past it.
inline constexpr std::size_t kPastCacheBytes = 1UL << 18;
// What was written past the cache by this thread comes before what it tells other threads from now on.
void order_copies();

// Writes image_bytes(images) bytes of image `index` of batch 0, elements of one byte, in the order (row,
// column, channel).
void copy_image(const Images& images, std::size_t index, std::uint8_t* to);

}  // namespace memcore::panels
