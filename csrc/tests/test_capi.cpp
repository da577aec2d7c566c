// The C ABI, used as a program would: for the sanitizers, and for other machines under emulation.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <thread>

#include "check_capi.hpp"
#include "include/memcore.h"

namespace memcore::tests {
namespace {

memcore_images described(const ImageSet& set, bool planar, std::size_t tile_w) {
    memcore_images images;
    const std::size_t width = tile_w * set.grid.tile_columns;
    CHECK(memcore_images_init(&images, set.bytes.data(), set.images.count, set.images.height, width,
                              set.channels,
                              planar ? MEMCORE_CHANNELS_FIRST : MEMCORE_CHANNELS_LAST) == MEMCORE_OK);
    return images;
}

void test_pairwise_and_graph(std::mt19937& random) {
    for (const bool planar : {false, true}) {
        ImageSet a(21, 9, 14, 2, 2, 3, planar), b(5, 9, 14, 2, 2, 3, planar);
        a.randomise(random, 90, 120);
        b.randomise(random);
        for (std::size_t i = 0; i < 21; i += 4) a.fill(i, static_cast<std::uint8_t>(100 + i));
        const memcore_images x = described(a, planar, 14), y = described(b, planar, 14);
        for (const int threads : {1, 3}) {
            std::vector<std::uint64_t> square(21 * 21), across(21 * 5);
            std::vector<std::uint32_t> narrow(21 * 21);
            CHECK(memcore_tiled_l2_ssd(&x, nullptr, 9, 14, square.data(), square.size(), threads) == 0);
            CHECK(memcore_tiled_l2_ssd(&x, &y, 9, 14, across.data(), across.size(), threads) == 0);
            CHECK(memcore_tiled_l2_ssd32(&x, nullptr, 9, 14, narrow.data(), narrow.size(), threads) == 0);
            bool equal = std::equal(square.begin(), square.end(), narrow.begin());
            for (std::size_t i = 0; i < 21; ++i) {
                for (std::size_t j = 0; j < 21; ++j) equal &= square[i * 21 + j] == oracle_ssd(a, i, a, j);
                for (std::size_t j = 0; j < 5; ++j) equal &= across[i * 5 + j] == oracle_ssd(a, i, b, j);
            }
            CHECK(equal);
            for (const std::uint64_t limit : {square[1], square[1] - 1, UINT64_MAX}) {
                memcore_graph* graph = nullptr;
                CHECK(memcore_tiled_l2_graph(&x, 9, 14, limit, 0, threads, &graph) == MEMCORE_OK);
                const std::int32_t* edges = memcore_graph_edges(graph);
                const std::uint64_t* ssd = memcore_graph_ssd(graph);
                std::size_t e = 0;
                bool same = true;
                for (int i = 0; i < 21; ++i) {
                    for (int j = i + 1; j < 21; ++j) {
                        const std::uint64_t wanted = square[static_cast<std::size_t>(i * 21 + j)];
                        if (wanted > limit) continue;
                        same &= e < memcore_graph_edge_count(graph) && edges[2 * e] == i &&
                                edges[2 * e + 1] == j && ssd[e] == wanted;
                        ++e;
                    }
                }
                CHECK(same && e == memcore_graph_edge_count(graph));
                memcore_graph* alone = nullptr;
                CHECK(memcore_tiled_l2_edges(&x, 9, 14, limit, 0, threads, &alone) == MEMCORE_OK);
                CHECK(memcore_graph_edge_count(alone) == e && memcore_graph_ssd(alone) == nullptr);
                CHECK(std::equal(edges, edges + 2 * e, memcore_graph_edges(alone)));
                memcore_graph* merged = graph;
                CHECK_FAILS(memcore_graph_merge(alone, nullptr, &merged), MEMCORE_ERROR_VALUE,
                            "first was made");
                CHECK_FAILS(memcore_graph_merge(graph, alone, &merged), MEMCORE_ERROR_VALUE,
                            "second was made");
                CHECK(merged == nullptr);
                memcore_graph_free(alone);
                memcore_graph_free(graph);
            }
        }
    }
}

// Images from the last to the first, and upside down: negative strides.
void test_strides(std::mt19937& random) {
    ImageSet a(6, 5, 8, 2, 1, 3, false), turned(6, 5, 8, 2, 1, 3, false);
    a.randomise(random);
    const std::size_t row = a.images.row_bytes, rows = a.bytes.size() / row;
    for (std::size_t r = 0; r < rows; ++r) {
        std::copy_n(a.bytes.begin() + static_cast<std::ptrdiff_t>(r * row), row,
                    turned.bytes.begin() + static_cast<std::ptrdiff_t>((rows - 1 - r) * row));
    }
    memcore_images x = described(a, false, 8), y = described(turned, false, 8);
    y.offset = y.data_bytes - row;
    y.image_stride = -y.image_stride;
    y.row_stride = -y.row_stride;
    std::vector<std::uint64_t> first(36), second(36);
    CHECK(memcore_tiled_l2_ssd(&x, nullptr, 5, 8, first.data(), 36, 1) == MEMCORE_OK);
    CHECK(memcore_tiled_l2_ssd(&y, nullptr, 5, 8, second.data(), 36, 1) == MEMCORE_OK);
    CHECK(first == second);
    y.offset -= 1;
    CHECK_FAILS(memcore_tiled_l2_ssd(&y, nullptr, 5, 8, second.data(), 36, 1), MEMCORE_ERROR_EXTENT,
                "images:");
}

void test_cliques_and_neighbours(std::mt19937& random) {
    const std::int32_t edges[] = {0, 1, 0, 2, 1, 2, 3, 4, 2, 3};
    memcore_cliques* cliques = nullptr;
    memcore_clique clique = {};
    clique.struct_size = sizeof(clique);
    CHECK(memcore_find_cliques(6, edges, 5, 2, 1000, &cliques) == MEMCORE_OK);
    CHECK(memcore_cliques_count(cliques) == 2 && memcore_cliques_upper_of_rest(cliques) < 2);
    CHECK(memcore_cliques_get(cliques, 1, &clique) == MEMCORE_OK);
    CHECK(clique.size == 2 && clique.members[0] == 3 && clique.members[1] == 4 && clique.proven);
    CHECK_FAILS(memcore_cliques_get(cliques, 2, &clique), MEMCORE_ERROR_VALUE, "index");
    clique.struct_size = 8;
    CHECK_FAILS(memcore_cliques_get(cliques, 0, &clique), MEMCORE_ERROR_VALUE, "struct_size");
    clique.struct_size = sizeof(clique);
    memcore_cliques_free(cliques);
    CHECK(memcore_max_clique(2147483646, edges, 5, 1000, &cliques) ==
          MEMCORE_OK);  // memory follows the edges
    CHECK(memcore_cliques_get(cliques, 0, &clique) == MEMCORE_OK);
    CHECK(clique.size == 3 && clique.members[2] == 2 && clique.lower == 3 && clique.upper == 3);
    memcore_cliques_free(cliques);
    CHECK(memcore_max_clique(0, nullptr, 0, 1, &cliques) == MEMCORE_OK);
    CHECK(memcore_cliques_get(cliques, 0, &clique) == MEMCORE_OK && clique.size == 0);
    memcore_cliques_free(cliques);

    ImageSet q(7, 1, 33, 1, 1, 1, false), c(90, 1, 33, 1, 1, 1, false);
    q.randomise(random, 0, 3);
    c.randomise(random, 0, 3);
    memcore_rows queries, corpus;
    CHECK(memcore_rows_init(&queries, q.bytes.data(), 7, 33) == MEMCORE_OK);
    CHECK(memcore_rows_init(&corpus, c.bytes.data(), 90, 33) == MEMCORE_OK);
    std::vector<std::uint64_t> ssd(7 * 9);
    std::vector<std::int64_t> index(7 * 9);
    CHECK(memcore_knn(&queries, &corpus, 9, ssd.data(), index.data(), ssd.size(), 2) == MEMCORE_OK);
    for (std::size_t i = 0; i < 7; ++i) {
        std::vector<std::pair<std::uint64_t, std::int64_t>> all;
        for (std::size_t j = 0; j < 90; ++j)
            all.emplace_back(oracle_ssd(q, i, c, j), static_cast<std::int64_t>(j));
        std::sort(all.begin(), all.end());
        for (std::size_t r = 0; r < 9; ++r)
            CHECK(ssd[i * 9 + r] == all[r].first && index[i * 9 + r] == all[r].second);
    }
    CHECK_FAILS(memcore_knn(&queries, &corpus, 91, ssd.data(), index.data(), ssd.size(), 1),
                MEMCORE_ERROR_VALUE, "k must be in [1, 90]");
    CHECK_FAILS(memcore_knn(&queries, &corpus, 10, ssd.data(), index.data(), ssd.size(), 1),
                MEMCORE_ERROR_EXTENT, "capacity");
}

void test_thresholds() {
    struct Case {
        double threshold;
        std::uint64_t bytes, wanted;
    };
    constexpr std::uint64_t kLargest = UINT64_MAX / 65025;
    constexpr Case kCases[] = {{0.15, 49152, 71912448},
                               {0.1, 49152, 31961088},  // 31961088 exactly
                               {0.0, 49152, 0},
                               {1.0, 49152, 3196108800},
                               {1e-9, 49152, 0},
                               {5e-324, kLargest, 0},
                               {1.0, kLargest, kLargest * 65025},
                               {0.5, 4, 65025},
                               {1e-6, 1000000000000, 65025}};
    for (const Case& c : kCases) {
        std::uint64_t got = 7;
        CHECK(memcore_ssd_max(c.threshold, c.bytes, &got) == MEMCORE_OK);
        CHECK(got == c.wanted);
    }
    std::uint64_t got = 0;
    for (const double bad : {-0.1, 1.0000001, std::nan(""), HUGE_VAL})
        CHECK_FAILS(memcore_ssd_max(bad, 1, &got), MEMCORE_ERROR_VALUE, "threshold");
    CHECK_FAILS(memcore_ssd_max(0.1, kLargest + 1, &got), MEMCORE_ERROR_OVERFLOW, "tile_bytes");
    CHECK_FAILS(memcore_ssd_max(0.1, 0, &got), MEMCORE_ERROR_VALUE, "tile_bytes");
    CHECK_FAILS(memcore_ssd_max(0.1, 1, nullptr), MEMCORE_ERROR_NULL, "ssd_max");
    CHECK(memcore_distance(71912448, 49152) == 0.15F && std::isnan(memcore_distance(1, 0)));
}

void test_bad_arguments() {
    std::uint8_t bytes[48] = {};
    std::uint64_t ssd[16];
    memcore_graph* graph = nullptr;
    memcore_images good;
    CHECK(memcore_images_init(&good, bytes, 4, 2, 2, 3, MEMCORE_CHANNELS_LAST) == MEMCORE_OK);
    const auto dense = [&](const memcore_images* x) {
        return memcore_tiled_l2_ssd(x, nullptr, 1, 1, ssd, 16, 1);
    };
    const auto with = [&](auto&& change) {
        memcore_images x = good;
        change(x);
        return dense(&x);
    };
    CHECK(dense(&good) == MEMCORE_OK);
    CHECK_FAILS(dense(nullptr), MEMCORE_ERROR_NULL, "images must not be NULL");
    CHECK_FAILS(with([](auto& x) { x.data = nullptr; }), MEMCORE_ERROR_NULL, "images.data");
    CHECK_FAILS(with([](auto& x) { x.struct_size = 0; }), MEMCORE_ERROR_VALUE, "struct_size");
    CHECK_FAILS(with([](auto& x) { x.data_bytes = 47; }), MEMCORE_ERROR_EXTENT, "data_bytes = 47");
    CHECK_FAILS(with([](auto& x) { x.offset = 1; }), MEMCORE_ERROR_EXTENT, "offset 1");
    CHECK_FAILS(with([](auto& x) { x.offset = SIZE_MAX; }), MEMCORE_ERROR_EXTENT, "offset");
    CHECK_FAILS(with([](auto& x) { x.count = 0; }), MEMCORE_ERROR_VALUE, "count must be at least 1");
    CHECK_FAILS(with([](auto& x) { x.count = 5; }), MEMCORE_ERROR_EXTENT, "data_bytes");
    CHECK_FAILS(with([](auto& x) { x.count = SIZE_MAX; }), MEMCORE_ERROR_OVERFLOW, "count");
    CHECK_FAILS(with([](auto& x) { x.row_stride = PTRDIFF_MAX; }), MEMCORE_ERROR_OVERFLOW, "row_stride");
    CHECK_FAILS(with([](auto& x) { x.row_stride = PTRDIFF_MIN; }), MEMCORE_ERROR_EXTENT, "data_bytes");
    CHECK_FAILS(with([](auto& x) { x.image_stride = 0; }), MEMCORE_ERROR_STRIDES, "image_stride");
    CHECK_FAILS(with([](auto& x) { x.image_stride = -12; }), MEMCORE_ERROR_EXTENT, "data_bytes");
    CHECK_FAILS(with([](auto& x) { x.count = 1, x.column_stride = 7; }), MEMCORE_ERROR_STRIDES, "strides");
    CHECK_FAILS(with([](auto& x) { x.channels = 5; }), MEMCORE_ERROR_VALUE, "channels");
    CHECK_FAILS(memcore_tiled_l2_ssd(&good, nullptr, 0, 1, ssd, 16, 1), MEMCORE_ERROR_VALUE, "tile_height");
    CHECK_FAILS(memcore_tiled_l2_ssd(&good, nullptr, 1, SIZE_MAX, ssd, 16, 1), MEMCORE_ERROR_VALUE,
                "tile_width");
    CHECK_FAILS(memcore_tiled_l2_ssd(&good, nullptr, 1, 1, ssd, 15, 1), MEMCORE_ERROR_EXTENT, "capacity");
    CHECK_FAILS(memcore_tiled_l2_ssd(&good, nullptr, 1, 1, nullptr, 16, 1), MEMCORE_ERROR_NULL, "ssd");
    CHECK_FAILS(memcore_tiled_l2_ssd(&good, nullptr, 1, 1, ssd, 16, -1), MEMCORE_ERROR_VALUE, "threads");
    CHECK_FAILS(memcore_tiled_l2_ssd(&good, nullptr, 1, 1, ssd, 16, 5000), MEMCORE_ERROR_VALUE, "threads");
    CHECK_FAILS(memcore_tiled_l2_graph(&good, 1, 1, 0, 0, 1, nullptr), MEMCORE_ERROR_NULL, "graph");
    CHECK_FAILS(memcore_tiled_l2_edges(&good, 1, 1, 0, 0, 1, nullptr), MEMCORE_ERROR_NULL, "graph");
    CHECK_FAILS(memcore_tiled_l2_graph(&good, 1, 1, 0, SIZE_MAX, 1, &graph), MEMCORE_ERROR_VALUE,
                "min_clique");
    CHECK(graph == nullptr);
    CHECK_FAILS(memcore_images_init(&good, bytes, SIZE_MAX, 2, 2, 3, 0), MEMCORE_ERROR_OVERFLOW, "bytes");
    CHECK_FAILS(memcore_images_init(&good, bytes, 1, 2, 2, 3, 2), MEMCORE_ERROR_VALUE, "layout");

    memcore_cliques* cliques = nullptr;
    const std::int32_t edge[] = {1, 0};
    CHECK_FAILS(memcore_max_clique(2, edge, 1, 1, &cliques), MEMCORE_ERROR_VALUE, "row 0 is (1, 0)");
    CHECK_FAILS(memcore_max_clique(-1, edge, 0, 1, &cliques), MEMCORE_ERROR_VALUE, "n must");
    CHECK_FAILS(memcore_max_clique(2, nullptr, 1, 1, &cliques), MEMCORE_ERROR_NULL, "edges");
    CHECK_FAILS(memcore_max_clique(2, edge, SIZE_MAX, 1, &cliques), MEMCORE_ERROR_OVERFLOW, "edges");
    CHECK_FAILS(memcore_max_clique(2, edge, SIZE_MAX / 9, 1, &cliques), MEMCORE_ERROR_OVERFLOW, "edges");
    CHECK_FAILS(memcore_find_cliques(2, edge, 0, 1, 1, &cliques), MEMCORE_ERROR_VALUE, "min_size");
    CHECK_FAILS(memcore_find_cliques(2, edge, 0, 2, -1, &cliques), MEMCORE_ERROR_VALUE, "node_limit");
    CHECK(cliques == nullptr);
    CHECK_FAILS(memcore_isa_select("sse9"), MEMCORE_ERROR_ISA, "available: scalar");
    CHECK_FAILS(memcore_isa_active(nullptr), MEMCORE_ERROR_NULL, "name");
    CHECK(memcore_isa_name(memcore_isa_count()) == nullptr);
    CHECK(memcore_cliques_count(nullptr) == 0 && memcore_graph_edge_count(nullptr) == 0);
    CHECK(memcore_graph_edges(nullptr) == nullptr && memcore_graph_ssd(nullptr) == nullptr);
    memcore_graph_free(nullptr);
    memcore_cliques_free(nullptr);
}

// Messages and choices are each thread's own.
void test_threads() {
    std::vector<std::thread> callers;
    std::vector<int> wrong(6, 0);  // CHECK itself is not for many threads
    for (int t = 0; t < 6; ++t) {
        callers.emplace_back([t, &wrong] {
            const std::string expected = "node_limit must be at least 0, got -" + std::to_string(t + 1);
            std::vector<std::uint8_t> bytes(40 * 64);
            for (std::size_t k = 0; k < bytes.size(); ++k) bytes[k] = static_cast<std::uint8_t>(k * k >> 3);
            memcore_images images;
            std::vector<std::uint64_t> ssd(1600), again(1600);
            memcore_cliques* cliques = nullptr;
            const char* name = memcore_isa_name(static_cast<std::size_t>(t) % memcore_isa_count());
            int& bad = wrong[static_cast<std::size_t>(t)];
            bad += memcore_isa_selected() != nullptr;
            bad += memcore_isa_select(name) != MEMCORE_OK;
            bad += memcore_images_init(&images, bytes.data(), 40, 8, 8, 1, 0) != MEMCORE_OK;
            bad += memcore_tiled_l2_ssd(&images, nullptr, 4, 4, again.data(), 1600, 1) != MEMCORE_OK;
            for (int repeat = 0; repeat < 10; ++repeat) {
                bad += memcore_max_clique(0, nullptr, 0, -t - 1, &cliques) != MEMCORE_ERROR_VALUE;
                bad += memcore_tiled_l2_ssd(&images, nullptr, 4, 4, ssd.data(), 1600, 3) != MEMCORE_OK;
                bad += memcore_last_error() != expected || ssd != again;
                bad += std::strcmp(memcore_isa_selected(), name) != 0;
            }
        });
    }
    for (std::thread& caller : callers) caller.join();
    CHECK(std::count(wrong.begin(), wrong.end(), 0) == 6);
}

}  // namespace
}  // namespace memcore::tests

int main() {
    using namespace memcore::tests;
    CHECK(memcore_last_error()[0] == '\0');
    CHECK(memcore_abi_version() == MEMCORE_ABI_VERSION);
    CHECK(std::strcmp(memcore_version(), MEMCORE_VERSION) == 0);
    for (std::size_t n = 0; n < memcore_isa_count(); ++n) {
        std::mt19937 random(20230130);
        CHECK(memcore_isa_select(memcore_isa_name(n)) == MEMCORE_OK);
        test_pairwise_and_graph(random);
        test_strides(random);
        test_cliques_and_neighbours(random);
    }
    CHECK(memcore_isa_select(nullptr) == MEMCORE_OK);
    test_thresholds();
    test_bad_arguments();
    test_threads();
    std::printf("C ABI: %d passed, %d failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
