// The C ABI on images that keep coming, and on many graphs.
#include <algorithm>
#include <thread>

#include "check_capi.hpp"
#include "include/memcore.h"

namespace memcore::tests {
namespace {

struct Edges {
    std::vector<std::int32_t> pairs;
    std::vector<std::uint64_t> ssd;
    bool operator==(const Edges& other) const { return pairs == other.pairs && ssd == other.ssd; }
};

Edges copy_edges(const memcore_graph* graph) {
    const std::size_t count = memcore_graph_edge_count(graph);
    Edges edges;
    edges.pairs.assign(memcore_graph_edges(graph), memcore_graph_edges(graph) + 2 * count);
    edges.ssd.assign(memcore_graph_ssd(graph), memcore_graph_ssd(graph) + count);
    return edges;
}

// However images are cut into calls, the graph is that of all of them.
void test_growing_graph(std::mt19937& random) {
    for (const std::size_t tile : {2U, 16U}) {  // without and with bounds
        ImageSet set(40, tile, tile, 2, 2, 3, false);
        set.randomise(random, 100, 140);
        for (std::size_t i = 0; i < 40; i += 3) set.fill(i, static_cast<std::uint8_t>(110 + i / 3));
        const std::size_t bytes = set.bytes.size() / 40, pixels = 2 * tile;
        const std::uint64_t limit = 100 * tile * tile * 3;
        memcore_images all;
        CHECK(memcore_images_init(&all, set.bytes.data(), 40, pixels, pixels, 3, 0) == MEMCORE_OK);
        memcore_graph* wanted = nullptr;
        CHECK(memcore_tiled_l2_graph(&all, tile, tile, limit, 0, 1, &wanted) == MEMCORE_OK);
        CHECK(memcore_graph_edge_count(wanted) > 20);

        memcore_features* features = nullptr;
        memcore_graph* graph = nullptr;
        std::vector<std::uint8_t> copies(set.bytes.size());
        CHECK(memcore_features_new(tile, tile, &features) == MEMCORE_OK);
        std::size_t seen = 0;
        for (const std::size_t count : {1U, 1U, 17U, 21U}) {
            memcore_images fresh, so_far;
            CHECK(memcore_images_init(&fresh, set.bytes.data() + seen * bytes, count, pixels, pixels, 3, 0) ==
                  MEMCORE_OK);
            CHECK_FAILS(memcore_features_append(features, &fresh, copies.data(), count * bytes - 1, 1),
                        MEMCORE_ERROR_EXTENT, "copies");
            CHECK(memcore_features_append(features, &fresh, copies.data() + seen * bytes, count * bytes, 2) ==
                  MEMCORE_OK);
            CHECK(memcore_images_init(&so_far, copies.data(), seen + count, pixels, pixels, 3, 0) ==
                  MEMCORE_OK);
            memcore_graph *edges = nullptr, *merged = nullptr;
            CHECK(memcore_features_graph(features, &so_far, limit, seen, 0, 2, &edges) == MEMCORE_OK);
            CHECK(memcore_graph_merge(graph, edges, &merged) == MEMCORE_OK);
            if (memcore_graph_edge_count(edges) != 0) {
                memcore_graph* refused = graph;
                CHECK_FAILS(memcore_graph_merge(merged, edges, &refused), MEMCORE_ERROR_VALUE,
                            "is in first too");
                CHECK(refused == nullptr);
            }
            memcore_graph_free(graph);
            memcore_graph_free(edges);
            graph = merged;
            seen += count;
            CHECK(memcore_features_count(features) == seen);
        }
        CHECK(copies == set.bytes && copy_edges(graph) == copy_edges(wanted));
        memcore_graph* whole = nullptr;
        CHECK(memcore_features_graph(features, &all, limit, 0, 3, 1, &whole) == MEMCORE_OK);
        memcore_graph* cliques = nullptr;
        CHECK(memcore_tiled_l2_graph(&all, tile, tile, limit, 3, 1, &cliques) == MEMCORE_OK);
        CHECK(copy_edges(whole) == copy_edges(cliques));
        memcore_graph_free(whole);
        memcore_graph_free(cliques);

        memcore_images fewer = all, other = all;
        fewer.count = 39;
        other.height = tile;
        whole = graph;
        CHECK_FAILS(memcore_features_graph(features, &fewer, limit, 0, 0, 1, &whole), MEMCORE_ERROR_VALUE,
                    "40, not 39");
        CHECK(whole == nullptr);
        CHECK_FAILS(memcore_features_graph(features, &all, limit, 41, 0, 1, &whole), MEMCORE_ERROR_VALUE,
                    "since");
        CHECK_FAILS(memcore_features_graph(features, &all, limit, 1, 3, 1, &whole), MEMCORE_ERROR_VALUE,
                    "since");
        CHECK_FAILS(memcore_features_graph(features, &all, limit, 0, SIZE_MAX, 1, &whole),
                    MEMCORE_ERROR_VALUE, "min_clique");
        CHECK_FAILS(memcore_features_graph(features, &all, limit, 0, 0, 1, nullptr), MEMCORE_ERROR_NULL,
                    "graph");
        CHECK_FAILS(memcore_features_graph(nullptr, &all, limit, 0, 0, 1, &whole), MEMCORE_ERROR_NULL,
                    "features");
        CHECK_FAILS(memcore_features_append(features, &other, nullptr, 0, 1), MEMCORE_ERROR_VALUE,
                    "another shape");
        CHECK_FAILS(memcore_features_append(features, nullptr, nullptr, 0, 1), MEMCORE_ERROR_NULL, "images");
        CHECK_FAILS(memcore_features_append(nullptr, &all, nullptr, 0, 1), MEMCORE_ERROR_NULL, "features");
        CHECK_FAILS(memcore_graph_merge(graph, wanted, nullptr), MEMCORE_ERROR_NULL, "merged");
        CHECK(memcore_features_count(features) == 40);
        memcore_graph_free(graph);
        memcore_graph_free(wanted);
        memcore_features_free(features);
    }
    // A stride that is never taken may be anything.
    std::uint8_t row[16] = {1, 2, 3}, copy[16] = {};
    memcore_images single;
    CHECK(memcore_images_init(&single, row, 1, 1, 16, 1, 0) == MEMCORE_OK);
    single.image_stride = single.channel_stride = PTRDIFF_MIN;
    single.row_stride = PTRDIFF_MAX;
    memcore_features* features = nullptr;
    CHECK(memcore_features_new(1, 16, &features) == MEMCORE_OK);
    CHECK(memcore_features_append(features, &single, copy, 16, 1) == MEMCORE_OK);
    CHECK(std::equal(row, row + 16, copy));
    memcore_features_free(features);
    CHECK_FAILS(memcore_features_new(0, 1, &features), MEMCORE_ERROR_VALUE, "tile_height");
    CHECK_FAILS(memcore_features_new(1, 0, &features), MEMCORE_ERROR_VALUE, "tile_width");
    CHECK_FAILS(memcore_features_new(1, 1, nullptr), MEMCORE_ERROR_NULL, "features");
    CHECK(features == nullptr && memcore_features_count(nullptr) == 0);
    memcore_features_free(nullptr);
}

// Many threads append to the same features; none is lost, and each image's sums are its own.
void test_features_of_many_threads() {
    std::vector<std::uint8_t> pixels(64 * 64 * 3, 77);
    memcore_images one;
    CHECK(memcore_images_init(&one, pixels.data(), 1, 64, 64, 3, 0) == MEMCORE_OK);
    memcore_features* features = nullptr;
    CHECK(memcore_features_new(16, 16, &features) == MEMCORE_OK);
    std::vector<int> bad(4, 0);
    std::vector<std::thread> callers;
    for (std::size_t t = 0; t < 4; ++t) {
        callers.emplace_back([&, t] {
            for (int k = 0; k < 8; ++k)
                bad[t] += memcore_features_append(features, &one, nullptr, 0, 2) != MEMCORE_OK;
        });
    }
    for (std::thread& caller : callers) caller.join();
    CHECK(std::count(bad.begin(), bad.end(), 0) == 4 && memcore_features_count(features) == 32);
    std::vector<std::uint8_t> all(32 * pixels.size(), 77);
    memcore_images images;
    CHECK(memcore_images_init(&images, all.data(), 32, 64, 64, 3, 0) == MEMCORE_OK);
    memcore_graph* graph = nullptr;
    CHECK(memcore_features_graph(features, &images, 0, 0, 0, 1, &graph) == MEMCORE_OK);
    CHECK(memcore_graph_edge_count(graph) == 32 * 31 / 2);
    memcore_graph_free(graph);
    memcore_features_free(features);
}

// Many graphs in one call are each graph by itself.
void test_many_graphs(std::mt19937& random) {
    std::vector<std::int32_t> sizes, edges;
    std::vector<std::int64_t> offsets{0};
    for (int g = 0; g < 60; ++g) {
        const int n = static_cast<int>(random() % 30);
        sizes.push_back(n);
        for (int i = 0; i < n; ++i) {
            for (int j = i + 1; j < n; ++j) {
                if (random() % 60 < static_cast<unsigned>(g)) edges.insert(edges.end(), {i, j});
            }
        }
        offsets.push_back(static_cast<std::int64_t>(edges.size() / 2));
    }
    const std::size_t count = edges.size() / 2;
    memcore_cliques* cliques = nullptr;
    for (const int threads : {1, 3}) {
        CHECK(memcore_max_cliques(60, sizes.data(), offsets.data(), edges.data(), count, 0, 1000000, threads,
                                  &cliques) == MEMCORE_OK);
        CHECK(memcore_cliques_count(cliques) == 60);
        std::int64_t largest = 0;
        bool same = true;
        for (std::size_t g = 0; g < 60; ++g) {
            memcore_cliques* alone = nullptr;
            memcore_clique one = {}, many = {};
            one.struct_size = many.struct_size = sizeof(one);
            CHECK(memcore_max_clique(sizes[g], edges.data() + 2 * offsets[g],
                                     static_cast<std::size_t>(offsets[g + 1] - offsets[g]), 1000000,
                                     &alone) == 0);
            CHECK(memcore_cliques_get(alone, 0, &one) == 0 && memcore_cliques_get(cliques, g, &many) == 0);
            same &= one.size == many.size && std::equal(one.members, one.members + one.size, many.members) &&
                    one.lower == many.lower && one.upper == many.upper && one.proven == many.proven &&
                    one.nodes == many.nodes;
            largest = std::max(largest, many.upper);
            memcore_cliques_free(alone);
        }
        CHECK(same && memcore_cliques_upper_of_rest(cliques) == largest);
        memcore_cliques_free(cliques);
    }
    const auto call = [&](std::size_t graphs, const std::int32_t* vertices, const std::int64_t* ends,
                          const std::int32_t* pairs, std::size_t pair_count) {
        return memcore_max_cliques(graphs, vertices, ends, pairs, pair_count, 0, 10, 1, &cliques);
    };
    const std::int64_t nothing[] = {0}, *ends = offsets.data();
    CHECK(call(0, nullptr, nothing, nullptr, 0) == MEMCORE_OK && memcore_cliques_count(cliques) == 0);
    memcore_cliques_free(cliques);
    CHECK_FAILS(call(0, nullptr, nothing, edges.data(), 1), MEMCORE_ERROR_VALUE, "offsets must begin");
    CHECK_FAILS(call(60, nullptr, ends, edges.data(), count), MEMCORE_ERROR_NULL, "sizes");
    CHECK_FAILS(call(60, sizes.data(), nullptr, edges.data(), count), MEMCORE_ERROR_NULL, "offsets");
    CHECK_FAILS(call(60, sizes.data(), ends, nullptr, count), MEMCORE_ERROR_NULL, "edges");
    CHECK_FAILS(call(60, sizes.data(), ends, edges.data(), count - 1), MEMCORE_ERROR_VALUE, "offsets");
    CHECK_FAILS(call(60, sizes.data(), ends, edges.data(), SIZE_MAX), MEMCORE_ERROR_OVERFLOW, "edges");
    CHECK_FAILS(call(SIZE_MAX, sizes.data(), ends, edges.data(), count), MEMCORE_ERROR_OVERFLOW,
                "graph_count");
    CHECK_FAILS(call(SIZE_MAX / 64, sizes.data(), nullptr, edges.data(), count), MEMCORE_ERROR_NULL,
                "offsets");
    const std::int32_t two[] = {3, -1}, most[] = {2147483647, 0}, pair[] = {0, 1}, loop[] = {1, 1};
    const std::int64_t fine[] = {0, 1, 1}, far[] = {0, 5, 1}, before[] = {-1, 0, 1};
    CHECK_FAILS(call(2, two, fine, pair, 1), MEMCORE_ERROR_VALUE, "got -1 for graph 1");
    CHECK_FAILS(call(2, most, fine, pair, 1), MEMCORE_ERROR_VALUE, "for graph 0");
    CHECK_FAILS(call(2, most + 1, fine, pair, 1), MEMCORE_ERROR_VALUE, "row 0 is (0, 1) and n is 0");
    CHECK_FAILS(call(1, two, fine, loop, 1), MEMCORE_ERROR_VALUE, "row 0 is (1, 1)");
    CHECK_FAILS(call(2, two, far, pair, 1), MEMCORE_ERROR_VALUE, "ascend");
    CHECK_FAILS(call(2, two, before, pair, 1), MEMCORE_ERROR_VALUE, "got -1");
    CHECK_FAILS(memcore_max_cliques(1, two, fine, pair, 1, -1, 10, 1, &cliques), MEMCORE_ERROR_VALUE,
                "min_size");
    CHECK_FAILS(memcore_max_cliques(1, two, fine, pair, 1, 0, -1, 1, &cliques), MEMCORE_ERROR_VALUE,
                "node_limit");
    CHECK_FAILS(memcore_max_cliques(1, two, fine, pair, 1, 0, 1, -1, &cliques), MEMCORE_ERROR_VALUE,
                "threads");
    CHECK_FAILS(memcore_max_cliques(1, two, fine, pair, 1, 0, 1, 1, nullptr), MEMCORE_ERROR_NULL, "cliques");
    CHECK(cliques == nullptr);
}

}  // namespace
}  // namespace memcore::tests

int main() {
    using namespace memcore::tests;
    for (std::size_t n = 0; n < memcore_isa_count(); ++n) {
        std::mt19937 random(20230131);
        CHECK(memcore_isa_select(memcore_isa_name(n)) == MEMCORE_OK);
        test_growing_graph(random);
    }
    CHECK(memcore_isa_select(nullptr) == MEMCORE_OK);
    std::mt19937 random(1);
    test_features_of_many_threads();
    test_many_graphs(random);
    std::printf("C ABI, graphs: %d passed, %d failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
