#include "graph/features.hpp"

#include <memory>
#include <string>

#include "arguments/call.hpp"
#include "capi/graph.hpp"
#include "capi/status.hpp"
#include "capi/views.hpp"

struct memcore_features {
    std::size_t tile_height, tile_width;
    memcore::graph::Features taken;
};

using namespace memcore;
using namespace memcore::capi;

namespace {

struct Shaped {
    arguments::ImageSet set;
    graph::Shape shape;
};

Shaped shaped(const memcore_features* features, const memcore_images* images) {
    Shaped made;
    made.set = view(images, "images");
    made.shape = arguments::make_shape(
        made.set, make_grid(made.set, nullptr, features->tile_height, features->tile_width));
    arguments::check_vertices(made.set);
    return made;
}

}  // namespace

extern "C" {

memcore_status memcore_features_new(size_t tile_height, size_t tile_width, memcore_features** features) {
    if (features != nullptr) *features = nullptr;
    return guarded([&] {
        check_pointer(features, "features");
        if (tile_height < 1) throw ArgumentError("tile_height must be at least 1, got 0");
        if (tile_width < 1) throw ArgumentError("tile_width must be at least 1, got 0");
        auto made = std::make_unique<memcore_features>();
        made->tile_height = tile_height;
        made->tile_width = tile_width;
        *features = made.release();
    });
}

memcore_status memcore_features_append(memcore_features* features, const memcore_images* images,
                                       uint8_t* copies, size_t copies_bytes, int32_t threads) {
    return guarded([&] {
        check_pointer(features, "features");
        const graph::KernelTables kernels = arguments::resolve_isa().tables();
        const int workers = arguments::check_threads(threads);
        const Shaped given = shaped(features, images);
        if (copies != nullptr) {
            // Rows may overlap, so the copies can need more than the images' memory.
            const std::size_t pixels = product(images->height, images->width, "copies");
            check_capacity(copies_bytes, images->count, product(pixels, images->channels, "copies"),
                           "copies");
        }
        if (images->count > static_cast<std::size_t>(INT32_MAX) - features->taken.size()) {
            throw ArgumentError("images: a graph has at most 2^31 - 1, got " + std::to_string(images->count) +
                                " more than " + std::to_string(features->taken.size()));
        }
        features->taken.append(kernels, given.set.images, given.shape, workers, copies);
    });
}

size_t memcore_features_count(const memcore_features* features) {
    return features == nullptr ? 0 : features->taken.size();
}

memcore_status memcore_features_graph(const memcore_features* features, const memcore_images* images,
                                      uint64_t ssd_max, size_t since, size_t min_clique, int32_t threads,
                                      memcore_graph** graph) {
    if (graph != nullptr) *graph = nullptr;
    return guarded([&] {
        check_pointer(graph, "graph");
        check_pointer(features, "features");
        const graph::KernelTables kernels = arguments::resolve_isa().tables();
        graph::Request request;
        request.threads = arguments::check_threads(threads);
        request.ssd_max = ssd_max;
        request.min_clique = min_clique;
        request.since = since;
        const Shaped given = shaped(features, images);
        check_min_clique(min_clique);
        if (since > given.set.images.count) {
            throw ArgumentError("since must be in [0, " + std::to_string(given.set.images.count) + "], got " +
                                std::to_string(since));
        }
        if (since > 0 && min_clique > 2) {
            throw ArgumentError(
                "since: the core of a part of the pairs says nothing of cliques; min_clique must be "
                "at most 2 where since is not 0, got " +
                std::to_string(min_clique));
        }
        graph::Stats stats;
        auto made =
            features->taken.with(given.shape, given.set.images.count, [&](const graph::Pyramid* pyramid) {
                return make_graph(graph::thresholded_graph(kernels, given.set.images, given.shape, pyramid,
                                                           request, stats));
            });
        *graph = made.release();
    });
}

void memcore_features_free(memcore_features* features) { delete features; }
}
