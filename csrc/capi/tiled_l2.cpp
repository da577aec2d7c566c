#include "tiled_l2/tiled_l2.hpp"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "arguments/call.hpp"
#include "capi/status.hpp"
#include "capi/views.hpp"
#include "runtime/thread_pool.hpp"
#include "tiled_l2/float_images.hpp"

namespace memcore::capi {
namespace {

// What both sides of a call are, checked.
struct Sides {
    arguments::ImageSet a;
    std::optional<arguments::ImageSet> b;
    panels::Grid grid;

    const panels::Images* other() const { return b ? &b->images : nullptr; }
    std::size_t columns() const { return b ? b->images.count : a.images.count; }
};

template <class Set>
Sides sides(const Set* images, const Set* other, std::size_t tile_height, std::size_t tile_width,
            std::size_t element = 1) {
    Sides made;
    made.a = view(images, "images");
    if (other != nullptr) made.b = view(other, "other");
    made.grid = make_grid(made.a, made.b ? &*made.b : nullptr, tile_height, tile_width, element);
    return made;
}

template <class Answer>
void check_answer(const Sides& sides, const Answer* answer, std::size_t capacity, const char* name) {
    check_pointer(answer, name);
    check_capacity(capacity, product(sides.a.images.batches, sides.a.images.count, name), sides.columns(),
                   name);
}

template <class Sum>
void run(const Isa& isa, const Sides& sides, Sum* ssd, int workers) {
    tiled_l2::pairwise<Sum>(*isa.panels, sides.a.images, sides.other(), sides.grid,
                            {ssd, sides.a.images.count, sides.columns()}, workers);
}

void check_uint8(const memcore_images*, const char*) {}
void check_uint8(const memcore_batch* batch, const char* name) {
    if (batch == nullptr || batch->type == MEMCORE_UINT8) return;
    throw ArgumentError(std::string(name) + ": type must be MEMCORE_UINT8 (0), got " +
                        std::to_string(batch->type) + "; memcore_batch_tiled_l2 takes all");
}

template <class Set, class Sum>
memcore_status pairwise(const Set* images, const Set* other, std::size_t tile_height, std::size_t tile_width,
                        Sum* ssd, std::size_t capacity, std::int32_t threads) {
    return guarded([&] {
        const Isa& isa = arguments::resolve_isa();
        const int workers = arguments::check_threads(threads);
        const Sides both = sides(images, other, tile_height, tile_width);
        check_uint8(images, "images");
        check_uint8(other, "other");
        if (sizeof(Sum) < sizeof(std::uint64_t) && both.grid.tile_bytes() > panels::kMaxBytes32) {
            throw ArgumentError("tile: the ssd of " + std::to_string(both.grid.tile_bytes()) +
                                    " bytes, more than " + std::to_string(panels::kMaxBytes32) +
                                    ", may not fit 32 bits; use the function for 64 bits",
                                Fault::kOverflow);
        }
        check_answer(both, ssd, capacity, "ssd");
        run(isa, both, ssd, workers);
    });
}

template <class Sum>
void distances_of_bytes(const Isa& isa, const Sides& both, float* distances, int workers) {
    const std::size_t row = both.columns(), rows = both.a.images.batches * both.a.images.count;
    const std::unique_ptr<Sum[]> ssd = std::make_unique_for_overwrite<Sum[]>(rows * row);
    run(isa, both, ssd.get(), workers);
    for (std::size_t k = 0; k < rows * row; ++k)
        distances[k] = memcore_distance(ssd[k], both.grid.tile_bytes());
}

tiled_l2::FloatType float_type(std::int32_t type) {
    return type == MEMCORE_FLOAT32   ? tiled_l2::FloatType::kFloat32
           : type == MEMCORE_FLOAT16 ? tiled_l2::FloatType::kFloat16
                                     : tiled_l2::FloatType::kBfloat16;
}

void check_unit(tiled_l2::FloatType type, const panels::Images& images, const char* name) {
    const std::optional<tiled_l2::Element> bad = tiled_l2::first_outside_unit(type, images);
    if (!bad) return;
    throw ArgumentError(std::string(name) + ": values must lie in [0, 1], got " + std::to_string(bad->value) +
                        " in batch " + std::to_string(bad->batch) + ", image " + std::to_string(bad->image) +
                        ", row " + std::to_string(bad->row) + ", element " + std::to_string(bad->element));
}

}  // namespace
}  // namespace memcore::capi

using namespace memcore;
using namespace memcore::capi;

extern "C" {

memcore_status memcore_tiled_l2_ssd(const memcore_images* images, const memcore_images* other,
                                    size_t tile_height, size_t tile_width, uint64_t* ssd, size_t capacity,
                                    int32_t threads) {
    return pairwise(images, other, tile_height, tile_width, ssd, capacity, threads);
}

memcore_status memcore_tiled_l2_ssd32(const memcore_images* images, const memcore_images* other,
                                      size_t tile_height, size_t tile_width, uint32_t* ssd, size_t capacity,
                                      int32_t threads) {
    return pairwise(images, other, tile_height, tile_width, ssd, capacity, threads);
}

memcore_status memcore_batch_tiled_l2_ssd(const memcore_batch* images, const memcore_batch* other,
                                          size_t tile_height, size_t tile_width, uint64_t* ssd,
                                          size_t capacity, int32_t threads) {
    return pairwise(images, other, tile_height, tile_width, ssd, capacity, threads);
}

memcore_status memcore_batch_tiled_l2_ssd32(const memcore_batch* images, const memcore_batch* other,
                                            size_t tile_height, size_t tile_width, uint32_t* ssd,
                                            size_t capacity, int32_t threads) {
    return pairwise(images, other, tile_height, tile_width, ssd, capacity, threads);
}

memcore_status memcore_batch_tiled_l2(const memcore_batch* images, const memcore_batch* other,
                                      size_t tile_height, size_t tile_width, float* distances,
                                      size_t capacity, int32_t threads) {
    return guarded([&] {
        const Isa& isa = arguments::resolve_isa();
        const int workers = arguments::check_threads(threads);
        check_pointer(images, "images");
        check_struct_size(images->struct_size, sizeof(memcore_batch), "memcore_batch");
        const std::size_t element = element_bytes(images->type, "images");
        if (other != nullptr) check_struct_size(other->struct_size, sizeof(memcore_batch), "memcore_batch");
        if (other != nullptr && other->type != images->type) {
            throw ArgumentError("other: type must be that of images, " + std::to_string(images->type) +
                                ", got " + std::to_string(other->type));
        }
        const Sides both = sides(images, other, tile_height, tile_width, element);
        check_answer(both, distances, capacity, "distances");
        if (images->type == MEMCORE_UINT8) {
            both.grid.tile_bytes() <= panels::kMaxBytes32
                ? distances_of_bytes<std::uint32_t>(isa, both, distances, workers)
                : distances_of_bytes<std::uint64_t>(isa, both, distances, workers);
            return;
        }
        const tiled_l2::FloatType type = float_type(images->type);
        check_unit(type, both.a.images, "images");
        if (both.b) check_unit(type, both.b->images, "other");
        tiled_l2::pairwise_float(*isa.panels, type, both.a.images, both.other(), both.grid,
                                 {distances, both.a.images.count, both.columns()}, workers);
    });
}
}
