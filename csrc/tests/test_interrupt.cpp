// Calls that end early: by what their thread is told when it asks, or by a flag; from every place that
// computes.
#include <algorithm>
#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "check.hpp"
#include "clique/max_clique.hpp"
#include "dispatch/dispatch.hpp"
#include "graph/features.hpp"
#include "graph/graph.hpp"
#include "knn/knn.hpp"
#include "runtime/interrupt.hpp"
#include "runtime/long_sort.hpp"
#include "runtime/thread_pool.hpp"
#include "sketches/range.hpp"
#include "sketches/sketch.hpp"
#include "tiled_l2/float_images.hpp"
#include "tiled_l2/tiled_l2.hpp"

namespace memcore::tests {
namespace {

using Flag = std::atomic<std::int32_t>;

template <class Call>
bool is_interrupted(Call&& call) {
    try {
        call();
    } catch (const Interrupted&) {
        return true;
    }
    return false;
}

void test_units_are_dropped() {
    for (const int threads : {1, 3}) {
        Flag flag{0};
        std::atomic<int> units{0};
        const Interruptible scope(&flag);
        CHECK(is_interrupted([&] {
            parallel_for(100'000, threads, [&](std::size_t, std::size_t) {
                if (++units == 5) flag = 1;
            });
        }));
        CHECK(units < 100'000);
        flag = 0;
        units = 0;
        parallel_for(100, threads, [&](std::size_t, std::size_t) { ++units; });
        CHECK(units == 100);
    }
}

struct Asked {
    std::thread::id caller = std::this_thread::get_id();
    int times = 0;
    int elsewhere = 0;

    static bool ask(void* data) {
        auto* const asked = static_cast<Asked*>(data);
        asked->elsewhere += std::this_thread::get_id() != asked->caller;
        return ++asked->times == 2;
    }
};

[[noreturn]] void compute_for_ever() {
    for (;;) check_interrupt();
}

void test_the_caller_asks() {
    for (const int threads : {1, 3}) {
        Asked asked;
        const Interruptible scope(&Asked::ask, &asked);
        CHECK(is_interrupted(
            [&] { parallel_for(8, threads, [](std::size_t, std::size_t) { compute_for_ever(); }); }));
        CHECK(asked.times == 2 && asked.elsewhere == 0);
    }
}

void test_the_caller_asks_while_it_waits() {
    Asked asked;
    const Interruptible scope(&Asked::ask, &asked);
    std::atomic<bool> helped{false};
    CHECK(is_interrupted([&] {
        parallel_for(2, 2, [&](std::size_t, std::size_t) {
            if (std::this_thread::get_id() != asked.caller) {
                helped = true;
                compute_for_ever();
            }
            while (!helped) std::this_thread::yield();  // then the caller has nothing left to do
        });
    }));
    CHECK(asked.times == 2 && asked.elsewhere == 0);
}

void test_units_within_units() {
    Flag flag{0};
    const Interruptible scope(&flag);
    CHECK(is_interrupted([&] {
        parallel_for(6, 3, [&](std::size_t outer, std::size_t) {
            parallel_for(6, 2, [&](std::size_t inner, std::size_t) {
                if (outer == 5 && inner == 0) flag = 1;
                if (outer == 5) compute_for_ever();
            });
        });
    }));
}

void test_scopes() {
    CHECK(current_work.interruptible == nullptr);
    Flag flag{1};
    {
        const Interruptible outer(&flag);
        CHECK(is_interrupted([] { check_interrupt(); }));
        {
            const Interruptible inner(nullptr);
            CHECK(!is_interrupted([] { check_interrupt(); }));
        }
        CHECK(is_interrupted([] { check_interrupt(); }));
    }
    CHECK(!is_interrupted([] { check_interrupt(); }));
    // A helper of an ended call works for none.
    std::atomic<int> working{0};
    parallel_for(8, 3, [&](std::size_t, std::size_t) { working += current_work.interruptible != nullptr; });
    CHECK(working == 0);
}

std::vector<std::int32_t> hard_graph(int n, std::mt19937& random) {
    std::vector<std::int32_t> edges;
    for (int i = 0; i < n; ++i) {
        for (int j = i + 1; j < n; ++j) {
            if (random() % 100 >= 85) continue;
            edges.push_back(i);
            edges.push_back(j);
        }
    }
    return edges;
}

// Every place that computes, with a flag that is set already: what looks at it ends at once.
void test_every_call(const Isa& isa, std::mt19937& random) {
    Flag flag{1};
    ImageSet a(40, 16, 16, 2, 2, 3, false), few(3, 16, 16, 2, 2, 3, false);
    a.randomise(random, 100, 140);
    few.randomise(random);
    const std::size_t n = a.images.count;
    std::vector<std::uint32_t> narrow(n * n);
    std::vector<std::uint64_t> wide(n * n);
    std::vector<float> floats(n * n);
    std::vector<std::int64_t> index(n * 3);
    const graph::KernelTables kernels = isa.tables();
    const graph::Shape shape{a.grid, a.channels, a.channels};
    graph::Request request;
    request.ssd_max = 3'000'000;
    request.threads = 2;
    graph::Features features;
    features.append(kernels, a.images, shape, 2, nullptr);
    const graph::Candidates left = features.screen(kernels, request);
    const knn::Rows rows{a.bytes.data(), n, a.images.image_stride};
    const sketches::Rows sketched{a.bytes.data(), n, 64};
    const std::vector<std::uint32_t> limits(n, UINT32_MAX);
    std::vector<std::int64_t> offsets(n + 1);
    for (std::size_t i = 0; i <= n; ++i) offsets[i] = static_cast<std::int64_t>(i);
    const sketches::Level level{sketched, sketched, sketched, limits.data(), limits.data()};
    const sketches::Search search{level, level, offsets.data()};
    const sketches::SketchShape sketch_shape{32, 32, 3, 4, 4};
    std::vector<std::uint8_t> sketch(n * 64), constant;
    std::vector<sketches::Hit> hits;
    const std::vector<std::int64_t> pairs(100, 1);
    const std::vector<std::int32_t> edges = hard_graph(200, random);
    const clique::EdgeList hard{200, edges.data(), static_cast<std::int64_t>(edges.size() / 2)};
    const std::vector<clique::EdgeList> graphs{hard, hard, hard};
    graph::Stats stats;
    const graph::Pyramid::Read read = [](std::size_t, std::uint8_t*) { return true; };

    const std::vector<std::function<void()>> calls{
        [&] {
            tiled_l2::pairwise<std::uint32_t>(*isa.panels, a.images, nullptr, a.grid, {narrow.data(), n, n},
                                              2);
        },
        [&] {
            tiled_l2::pairwise<std::uint64_t>(*isa.panels, a.images, nullptr, a.grid, {wide.data(), n, n}, 1);
        },
        [&] {
            tiled_l2::pairwise<std::uint32_t>(*isa.panels, few.images, nullptr, few.grid,
                                              {narrow.data(), 3, 3}, 1);
        },
        [&] {
            knn::search<std::uint32_t>(*isa.panels, rows, rows, 3072, 3, narrow.data(), index.data(), 2, {});
        },
        [&] { graph::thresholded_graph(kernels, a.images, shape, nullptr, request, stats); },
        [&] { features.append(kernels, a.images, shape, 1, nullptr); },
        [&] { features.append_read(kernels, a.images, shape, 4, 1, read, constant); },
        [&] { features.screen(kernels, request); },
        [&] {
            features.with(shape, n, [&](const graph::Pyramid* pyramid) {
                return graph::decide(kernels, a.images, shape, pyramid, left.screened, request, stats);
            });
        },
        [&] { features.first_mismatch(kernels, few.images, shape, {0, 1, 2}, 1); },
        [&] { sketches::sketch(a.bytes.data(), n, sketch_shape, sketch.data(), 1); },
        [&] { sketches::range_search(*isa.panels, search, 1000, hits, 1); },
        [&] {
            sketches::pair_ssd(*isa.panels, sketched, sketched, 4, pairs.data(), pairs.data(), pairs.size(),
                               wide.data(), 1);
        },
        [&] { clique::max_clique(hard, INT64_MAX); },
        [&] { clique::find_cliques(hard, 2, INT64_MAX); },
        [&] { clique::max_cliques(graphs, INT64_MAX, 0, 2); },
    };
    for (std::size_t call = 0; call < calls.size(); ++call) {
        const Interruptible scope(&flag);
        const bool ended = is_interrupted(calls[call]);
        if (!ended) std::fprintf(stderr, "call %zu did not end\n", call);
        CHECK(ended);
    }
    // Interrupted calls appended nothing.
    CHECK(features.size() == n);
    CHECK(features.first_mismatch(
              kernels, a.images, shape,
              [&] {
                  std::vector<std::size_t> all(n);
                  for (std::size_t i = 0; i < n; ++i) all[i] = i;
                  return all;
              }(),
              1) == n);
}

void test_another_thread_ends_a_search(std::mt19937& random) {
    const std::vector<std::int32_t> edges = hard_graph(450, random);
    const clique::EdgeList hard{450, edges.data(), static_cast<std::int64_t>(edges.size() / 2)};
    Flag flag{0};
    std::thread other([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(30));
        flag = 1;
    });
    const Interruptible scope(&flag);
    CHECK(is_interrupted([&] { clique::max_clique(hard, INT64_MAX); }));
    other.join();
}

void test_long_sort(std::mt19937& random) {
    std::vector<std::uint32_t> numbers((std::size_t{5} << 19) + 7);
    for (std::uint32_t& number : numbers) number = static_cast<std::uint32_t>(random());
    std::vector<std::uint32_t> sorted = numbers;
    std::sort(sorted.begin(), sorted.end());
    std::vector<std::uint32_t> parts = numbers;
    long_sort(parts.begin(), parts.end(), std::less<>());
    CHECK(parts == sorted);
    std::vector<std::uint32_t> none;
    long_sort(none.begin(), none.end(), std::less<>());
    Flag flag{1};
    const Interruptible scope(&flag);
    CHECK(is_interrupted([&] { long_sort(numbers.begin(), numbers.end(), std::less<>()); }));
}

}  // namespace
}  // namespace memcore::tests

int main() {
    using namespace memcore::tests;
    std::mt19937 random(20230130);
    test_units_are_dropped();
    test_the_caller_asks();
    test_the_caller_asks_while_it_waits();
    test_units_within_units();
    test_scopes();
    for (const memcore::Isa* isa : memcore::available_isas()) test_every_call(*isa, random);
    test_another_thread_ends_a_search(random);
    test_long_sort(random);
    std::printf("interrupts: %d passed, %d failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
