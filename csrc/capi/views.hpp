// The structures of memcore.h as views that the core works on: nothing is read before all of it is known to
// lie within what the caller gave.
#pragma once

#include <cstddef>

#include "arguments/images.hpp"
#include "include/memcore.h"
#include "knn/knn.hpp"

namespace memcore::capi {

arguments::ImageSet view(const memcore_images* images, const char* name);
arguments::ImageSet view(const memcore_batch* batch, const char* name);

// Of MEMCORE_UINT8 and the others; throws for any other number.
std::size_t element_bytes(std::int32_t type, const char* name);

// Throws unless tiles of that many pixels cut the images, and any ssd of such a tile fits 64 bits.
panels::Grid make_grid(const arguments::ImageSet& a, const arguments::ImageSet* other,
                       std::size_t tile_height, std::size_t tile_width, std::size_t element = 1);

knn::Rows view(const memcore_rows* rows, const char* name);

// The largest tile whose ssd, at most K * 255^2, fits 64 bits.
inline constexpr std::uint64_t kMaxTileBytes64 = UINT64_MAX / (255 * 255);

}  // namespace memcore::capi
