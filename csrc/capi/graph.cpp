#include "capi/graph.hpp"

#include <string>
#include <utility>

#include "arguments/call.hpp"
#include "capi/status.hpp"
#include "capi/views.hpp"
#include "graph/graph.hpp"

namespace memcore::capi {

std::unique_ptr<memcore_graph> make_graph(const std::vector<graph::Edge>& edges, bool sums) {
    auto made = std::make_unique<memcore_graph>();
    made->edges.reserve(2 * edges.size());
    made->ssd.reserve(sums ? edges.size() : 0);
    for (const graph::Edge& edge : edges) {
        made->edges.push_back(edge.i);
        made->edges.push_back(edge.j);
        if (sums) made->ssd.push_back(edge.ssd);
    }
    return made;
}

void check_min_clique(std::size_t min_clique) {
    if (min_clique <= static_cast<std::size_t>(INT32_MAX)) return;
    throw ArgumentError("min_clique must be in [0, 2^31 - 1], got " + std::to_string(min_clique));
}

}  // namespace memcore::capi

using namespace memcore;
using namespace memcore::capi;

namespace {

memcore_status thresholded(const memcore_images* images, size_t tile_height, size_t tile_width,
                           uint64_t ssd_max, size_t min_clique, int32_t threads, bool sums,
                           memcore_graph** graph) {
    if (graph != nullptr) *graph = nullptr;
    return guarded([&] {
        check_pointer(graph, "graph");
        const graph::KernelTables kernels = arguments::resolve_isa().tables();
        graph::Request request;
        request.threads = arguments::check_threads(threads);
        request.ssd_max = ssd_max;
        request.sums = sums;
        request.min_clique = min_clique;
        const arguments::ImageSet set = view(images, "images");
        const panels::Grid grid = make_grid(set, nullptr, tile_height, tile_width);
        arguments::check_vertices(set);
        check_min_clique(min_clique);
        graph::Stats stats;
        auto made = make_graph(graph::thresholded_graph(kernels, set.images, arguments::make_shape(set, grid),
                                                        nullptr, request, stats),
                               sums);
        *graph = made.release();
    });
}

void check_has_ssd(const memcore_graph* graph, const char* name) {
    if (graph == nullptr || 2 * graph->ssd.size() == graph->edges.size()) return;
    throw ArgumentError(std::string(name) + " was made by memcore_tiled_l2_edges: its edges have no ssd");
}

}  // namespace

extern "C" {

memcore_status memcore_tiled_l2_graph(const memcore_images* images, size_t tile_height, size_t tile_width,
                                      uint64_t ssd_max, size_t min_clique, int32_t threads,
                                      memcore_graph** graph) {
    return thresholded(images, tile_height, tile_width, ssd_max, min_clique, threads, true, graph);
}

memcore_status memcore_tiled_l2_edges(const memcore_images* images, size_t tile_height, size_t tile_width,
                                      uint64_t ssd_max, size_t min_clique, int32_t threads,
                                      memcore_graph** graph) {
    return thresholded(images, tile_height, tile_width, ssd_max, min_clique, threads, false, graph);
}

size_t memcore_graph_edge_count(const memcore_graph* graph) {
    return graph == nullptr ? 0 : graph->edges.size() / 2;
}

const int32_t* memcore_graph_edges(const memcore_graph* graph) {
    return memcore_graph_edge_count(graph) == 0 ? nullptr : graph->edges.data();
}

const uint64_t* memcore_graph_ssd(const memcore_graph* graph) {
    return graph == nullptr || graph->ssd.empty() ? nullptr : graph->ssd.data();
}

memcore_status memcore_graph_merge(const memcore_graph* first, const memcore_graph* second,
                                   memcore_graph** merged) {
    if (merged != nullptr) *merged = nullptr;
    return guarded([&] {
        check_pointer(merged, "merged");
        check_has_ssd(first, "first");
        check_has_ssd(second, "second");
        const size_t ends[] = {memcore_graph_edge_count(first), memcore_graph_edge_count(second)};
        const memcore_graph* const graphs[] = {first, second};
        auto made = std::make_unique<memcore_graph>();
        made->edges.reserve(2 * (ends[0] + ends[1]));
        made->ssd.reserve(ends[0] + ends[1]);
        size_t at[] = {0, 0};
        const auto next = [&](int side) {
            const std::int32_t* edge = graphs[side]->edges.data() + 2 * at[side];
            return std::pair(edge[0], edge[1]);
        };
        while (at[0] < ends[0] || at[1] < ends[1]) {
            if (at[0] < ends[0] && at[1] < ends[1] && next(0) == next(1)) {
                throw ArgumentError("second: edge (" + std::to_string(next(1).first) + ", " +
                                    std::to_string(next(1).second) + ") is in first too");
            }
            const int side = at[1] == ends[1] || (at[0] < ends[0] && next(0) < next(1)) ? 0 : 1;
            made->edges.push_back(next(side).first);
            made->edges.push_back(next(side).second);
            made->ssd.push_back(graphs[side]->ssd[at[side]++]);
        }
        *merged = made.release();
    });
}

void memcore_graph_free(memcore_graph* graph) { delete graph; }
}
