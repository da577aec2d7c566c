#include "block_bounds/graph.hpp"

#include <memory>
#include <vector>

#include "arguments/call.hpp"
#include "capi/status.hpp"
#include "capi/views.hpp"

struct memcore_graph {
    std::vector<std::int32_t> edges;
    std::vector<std::uint64_t> ssd;
};

using namespace memcore;
using namespace memcore::capi;

extern "C" {

memcore_status memcore_tiled_l2_graph(const memcore_images* images, size_t tile_height, size_t tile_width,
                                      uint64_t ssd_max, size_t min_clique, int32_t threads,
                                      memcore_graph** graph) {
    if (graph != nullptr) *graph = nullptr;
    return guarded([&] {
        check_pointer(graph, "graph");
        const Isa& isa = arguments::resolve_isa();
        block_bounds::Request request;
        request.threads = arguments::check_threads(threads);
        request.ssd_max = ssd_max;
        request.min_clique = min_clique;
        const arguments::ImageSet set = view(images, "images");
        const tiled_l2::Grid grid = make_grid(set, nullptr, tile_height, tile_width);
        arguments::check_vertices(set);
        if (min_clique > static_cast<size_t>(INT32_MAX)) {
            throw ArgumentError("min_clique must be in [0, 2^31 - 1], got " + std::to_string(min_clique));
        }
        block_bounds::Stats stats;
        const std::vector<block_bounds::Edge> edges =
            block_bounds::graph(isa, set.images, arguments::make_shape(set, grid), nullptr, request, stats);
        auto made = std::make_unique<memcore_graph>();
        made->edges.reserve(2 * edges.size());
        made->ssd.reserve(edges.size());
        for (const block_bounds::Edge& edge : edges) {
            made->edges.push_back(edge.i);
            made->edges.push_back(edge.j);
            made->ssd.push_back(edge.ssd);
        }
        *graph = made.release();
    });
}

size_t memcore_graph_edge_count(const memcore_graph* graph) {
    return graph == nullptr ? 0 : graph->ssd.size();
}

const int32_t* memcore_graph_edges(const memcore_graph* graph) {
    return memcore_graph_edge_count(graph) == 0 ? nullptr : graph->edges.data();
}

const uint64_t* memcore_graph_ssd(const memcore_graph* graph) {
    return memcore_graph_edge_count(graph) == 0 ? nullptr : graph->ssd.data();
}

void memcore_graph_free(memcore_graph* graph) { delete graph; }
}
