// The core without Python, for AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer:
// csrc/tests/run.sh.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <thread>

#include "check.hpp"
#include "dispatch/dispatch.hpp"
#include "graph/graph.hpp"
#include "graph/pivots.hpp"
#include "knn/knn.hpp"
#include "runtime/thread_pool.hpp"
#include "tiled_l2/float_images.hpp"
#include "tiled_l2/tiled_l2.hpp"

namespace memcore::tests {
namespace {

template <class Sum>
void check_dense(const Isa& isa, const ImageSet& a, const ImageSet* other, int threads) {
    const ImageSet& b = other == nullptr ? a : *other;
    const std::size_t rows = a.images.count, columns = b.images.count;
    std::vector<Sum> out(rows * columns, 7);
    tiled_l2::pairwise<Sum>(*isa.panels, a.images, other == nullptr ? nullptr : &b.images, a.grid,
                            {out.data(), rows, columns}, threads);
    bool equal = true;
    for (std::size_t i = 0; i < rows; ++i) {
        for (std::size_t j = 0; j < columns; ++j) equal &= out[i * columns + j] == oracle_ssd(a, i, b, j);
    }
    CHECK(equal);
}

void test_dense(const Isa& isa, std::mt19937& random) {
    struct Case {
        std::size_t n, m, tile_h, tile_w, rows, columns, channels;
    };
    constexpr Case kCases[] = {{1, 1, 1, 1, 1, 1, 1},    {2, 3, 3, 5, 2, 2, 3},    {15, 17, 4, 4, 1, 3, 4},
                               {16, 1, 2, 33, 2, 1, 1},  {17, 40, 5, 13, 2, 2, 3}, {49, 9, 3, 64, 1, 2, 3},
                               {33, 8, 64, 16, 1, 1, 3}, {20, 20, 7, 700, 1, 1, 3}};
    for (const Case& c : kCases) {
        for (const bool planar : {false, true}) {
            ImageSet a(c.n, c.tile_h, c.tile_w, c.rows, c.columns, c.channels, planar);
            ImageSet b(c.m, c.tile_h, c.tile_w, c.rows, c.columns, c.channels, planar);
            a.randomise(random);
            b.randomise(random);
            a.fill(0, 0);
            b.fill(0, 255);
            for (const int threads : {1, 3}) {
                check_dense<std::uint32_t>(isa, a, nullptr, threads);
                check_dense<std::uint32_t>(isa, a, &b, threads);
                check_dense<std::uint64_t>(isa, a, nullptr, threads);
            }
        }
    }
    ImageSet wide(3, 1, panels::kMaxBytes32 + 1, 1, 1, 1, false);
    wide.fill(1, 255);
    wide.fill(2, 128);
    check_dense<std::uint64_t>(isa, wide, nullptr, 2);
    ImageSet limit(2, 1, panels::kMaxBytes32, 1, 1, 1, false);
    limit.fill(1, 255);
    check_dense<std::uint32_t>(isa, limit, nullptr, 2);
}

void test_floats(const Isa& isa, std::mt19937& random) {
    ImageSet a(19, 6, 7 * 4, 2, 2, 3, false);  // 7 float32 pixels a tile row
    std::uniform_real_distribution<float> value(0.0F, 1.0F);
    for (std::size_t k = 0; k < a.bytes.size(); k += 4) {
        const float x = value(random);
        __builtin_memcpy(a.bytes.data() + k, &x, 4);
    }
    const std::size_t n = a.images.count;
    std::vector<float> out(n * n), scalar(n * n);
    for (const int threads : {1, 2}) {
        tiled_l2::pairwise_float(*isa.panels, tiled_l2::FloatType::kFloat32, a.images, nullptr, a.grid,
                                 {out.data(), n, n}, threads);
        tiled_l2::pairwise_float(panels::kernels_scalar, tiled_l2::FloatType::kFloat32, a.images, nullptr,
                                 a.grid, {scalar.data(), n, n}, 1);
        CHECK(out == scalar);
    }
    CHECK(tiled_l2::first_outside_unit(tiled_l2::FloatType::kFloat32, a.bytes.data(), a.bytes.size() / 4) ==
          a.bytes.size() / 4);
}

template <class Sum>
void check_knn(const Isa& isa, const ImageSet& queries, const ImageSet& corpus, std::size_t k, int threads) {
    const std::size_t q = queries.images.count, n = corpus.images.count, d = queries.grid.line_bytes;
    std::vector<Sum> ssd(q * k);
    std::vector<std::int64_t> index(q * k);
    const auto rows = [](const ImageSet& s) {
        return knn::Rows{s.bytes.data(), s.images.count, s.images.image_stride};
    };
    knn::search<Sum>(*isa.panels, rows(queries), rows(corpus), d, k, ssd.data(), index.data(), threads);
    bool equal = true;
    for (std::size_t i = 0; i < q; ++i) {
        std::vector<std::pair<std::uint64_t, std::int64_t>> all(n);
        for (std::size_t j = 0; j < n; ++j)
            all[j] = {oracle_ssd(queries, i, corpus, j), static_cast<std::int64_t>(j)};
        std::sort(all.begin(), all.end());
        for (std::size_t r = 0; r < k; ++r)
            equal &= ssd[i * k + r] == all[r].first && index[i * k + r] == all[r].second;
    }
    CHECK(equal);
}

void test_knn(const Isa& isa, std::mt19937& random) {
    for (const std::size_t d : {1, 3, 50, 129}) {
        ImageSet q(37, 1, d, 1, 1, 1, false), c(500, 1, d, 1, 1, 1, false);
        q.randomise(random, 0, 2);
        c.randomise(random, 0, 2);
        for (const std::size_t k : {1, 7, 500}) {
            for (const int threads : {1, 3}) check_knn<std::uint32_t>(isa, q, c, k, threads);
        }
    }
    ImageSet q(2, 1, 70000, 1, 1, 1, false), c(5, 1, 70000, 1, 1, 1, false);
    c.randomise(random);
    c.fill(0, 255);
    check_knn<std::uint64_t>(isa, q, c, 5, 2);
}

void test_graph(const Isa& isa, std::mt19937& random) {
    for (const bool planar : {false, true}) {
        for (const std::size_t n : {1, 9, 70}) {
            ImageSet a(n, 33, 17, 2, 2, 3, planar);
            a.randomise(random, 100, 130);
            for (std::size_t i = 0; i < n; i += 3) a.fill(i, static_cast<std::uint8_t>(100 + i % 7));
            std::vector<std::uint64_t> ssd(n * n);
            for (std::size_t i = 0; i < n; ++i) {
                for (std::size_t j = i + 1; j < n; ++j) ssd[i * n + j] = oracle_ssd(a, i, a, j);
            }
            std::vector<std::uint64_t> limits{0, 20000, 200000, UINT64_MAX};
            if (n > 1) limits.insert(limits.end(), {ssd[1], ssd[1] - 1});
            const graph::Shape shape{a.grid, 3, planar ? std::size_t{1} : std::size_t{3}};
            for (const std::uint64_t ssd_max : limits) {
                for (const int threads : {1, 3}) {
                    graph::Stats stats;
                    graph::Request request;
                    request.ssd_max = ssd_max;
                    request.threads = threads;
                    const auto edges =
                        graph::thresholded_graph(isa.tables(), a.images, shape, nullptr, request, stats);
                    std::size_t e = 0;
                    bool equal = true;
                    for (std::size_t i = 0; i < n; ++i) {
                        for (std::size_t j = i + 1; j < n; ++j) {
                            if (ssd[i * n + j] > ssd_max) continue;
                            equal &= e < edges.size() && edges[e].i == static_cast<std::int32_t>(i) &&
                                     edges[e].j == static_cast<std::int32_t>(j) &&
                                     edges[e].ssd == ssd[i * n + j];
                            ++e;
                        }
                    }
                    CHECK(equal && e == edges.size());
                }
            }
        }
    }
}

// Squares, so that the roots are known: whatever the sign of what is compared, one unit decides.
void test_triangle() {
    using graph::by_triangle;
    using graph::Verdict;
    bool right = true;
    const std::uint64_t roots[] = {0, 1, 2, 7, 1000, 65535, 1000003};
    for (const std::uint64_t x : roots) {
        for (const std::uint64_t y : roots) {
            const std::uint64_t a = x * x, b = y * y, far = (x + y) * (x + y);
            const std::uint64_t near = x > y ? (x - y) * (x - y) : (y - x) * (y - x);
            right &= by_triangle(a, b, far) == Verdict::kEdge;
            right &= by_triangle(a, b, far + 1) == Verdict::kEdge;
            if (far > near && far > 0) right &= by_triangle(a, b, far - 1) == Verdict::kUnknown;
            if (far > near) right &= by_triangle(a, b, near) == Verdict::kUnknown;
            // One of them is not above the limit, and so exact.
            if (near > 0 && std::min(a, b) < near) right &= by_triangle(a, b, near - 1) == Verdict::kNoEdge;
        }
    }
    // Two that may be too small decide nothing.
    right &= by_triangle(1000000, 100, 9) == Verdict::kUnknown;
    right &= by_triangle(3, 5, UINT64_MAX) == Verdict::kEdge;
    CHECK(right);
}

void test_pool() {
    for (const int threads : {1, 2, 5}) {
        std::vector<std::atomic<int>> seen(1000);
        std::atomic<bool> in_range{true};
        const std::size_t workers = worker_count(seen.size(), threads);
        parallel_for(seen.size(), threads, [&](std::size_t unit, std::size_t worker) {
            ++seen[unit];
            if (worker >= workers) in_range = false;
        });
        CHECK(in_range && std::all_of(seen.begin(), seen.end(), [](const auto& n) { return n == 1; }));
    }
    bool caught = false;
    try {
        parallel_for(100, 4, [](std::size_t unit, std::size_t) {
            if (unit == 17) throw std::runtime_error("unit 17");
        });
    } catch (const std::runtime_error&) {
        caught = true;
    }
    CHECK(caught);

    // Many callers at once, each with calls within calls.
    std::atomic<std::size_t> total{0};
    std::vector<std::thread> callers;
    for (int c = 0; c < 8; ++c) {
        callers.emplace_back([&] {
            for (int repeat = 0; repeat < 20; ++repeat) {
                parallel_for(10, 3, [&](std::size_t, std::size_t) {
                    parallel_for(5, 2, [&](std::size_t, std::size_t) { ++total; });
                });
            }
        });
    }
    for (std::thread& caller : callers) caller.join();
    CHECK(total == 8 * 20 * 10 * 5);
}

}  // namespace
}  // namespace memcore::tests

// With --isas, only prints what the dispatch found.
int main(int argc, char** argv) {
    using namespace memcore;
    using namespace memcore::tests;
    if (argc == 2 && std::strcmp(argv[1], "--isas") == 0) {
        for (const Isa* isa : available_isas())
            std::printf("%s%s", isa == available_isas().front() ? "" : " ", isa->name);
        std::printf("\n");
        return 0;
    }
    test_triangle();
    test_pool();
    for (const Isa* isa : available_isas()) {
        std::mt19937 random(20230130);
        const int before = failed;
        test_dense(*isa, random);
        test_floats(*isa, random);
        test_knn(*isa, random);
        test_graph(*isa, random);
        std::printf("%s: %s\n", isa->name, failed == before ? "ok" : "FAILED");
    }
    std::printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
