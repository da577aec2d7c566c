#include "tiled_l2/tiled_l2.hpp"

#include <optional>
#include <string>

#include "arguments/call.hpp"
#include "capi/status.hpp"
#include "capi/views.hpp"

namespace memcore::capi {
namespace {

template <class Sum>
memcore_status pairwise(const memcore_images* images, const memcore_images* other, std::size_t tile_height,
                        std::size_t tile_width, Sum* ssd, std::size_t capacity, std::int32_t threads) {
    return guarded([&] {
        const Isa& isa = arguments::resolve_isa();
        const int workers = arguments::check_threads(threads);
        const arguments::ImageSet a = view(images, "images");
        std::optional<arguments::ImageSet> b;
        if (other != nullptr) b = view(other, "other");
        const tiled_l2::Grid grid = make_grid(a, b ? &*b : nullptr, tile_height, tile_width);
        if (sizeof(Sum) < sizeof(std::uint64_t) && grid.tile_bytes() > tiled_l2::kMaxBytes32) {
            throw ArgumentError("tile: the ssd of " + std::to_string(grid.tile_bytes()) +
                                    " bytes, more than " + std::to_string(tiled_l2::kMaxBytes32) +
                                    ", may not fit 32 bits; use memcore_tiled_l2_ssd",
                                Fault::kOverflow);
        }
        check_pointer(ssd, "ssd");
        const std::size_t columns = b ? b->images.count : a.images.count;
        check_capacity(capacity, a.images.count, columns, "ssd");
        tiled_l2::pairwise<Sum>(*isa.tiled_l2, a.images, b ? &b->images : nullptr, grid,
                                {ssd, a.images.count, columns}, workers);
    });
}

}  // namespace
}  // namespace memcore::capi

extern "C" {

memcore_status memcore_tiled_l2_ssd(const memcore_images* images, const memcore_images* other,
                                    size_t tile_height, size_t tile_width, uint64_t* ssd, size_t capacity,
                                    int32_t threads) {
    return memcore::capi::pairwise(images, other, tile_height, tile_width, ssd, capacity, threads);
}

memcore_status memcore_tiled_l2_ssd32(const memcore_images* images, const memcore_images* other,
                                      size_t tile_height, size_t tile_width, uint32_t* ssd, size_t capacity,
                                      int32_t threads) {
    return memcore::capi::pairwise(images, other, tile_height, tile_width, ssd, capacity, threads);
}
}
