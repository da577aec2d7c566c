#include "block_bounds/graph.hpp"

#include <chrono>
#include <optional>

#include "block_bounds/candidates.hpp"
#include "block_bounds/dense_graph.hpp"
#include "block_bounds/verify.hpp"

namespace memcore::block_bounds {
namespace {

// Of pairs left by the bounds: with more, computing all at once costs less than looking on.
constexpr double kHopelessShare = 0.75;
// The same where a tile is no larger than 6 x 6 pixels: there a block sum is as large as its pixels, and a
// pair that is left costs as much as many that are computed together.
constexpr double kHopelessShareSmall = 0.02;
constexpr std::size_t kSmallTileBytes = 108, kTinyTileBytes = 48;  // below the latter no bounds are tried
constexpr std::size_t kDenseImages = 8;                            // so few images are not worth bounds
constexpr std::size_t kSampleFrom = 64;

class Clock {
  public:
    double lap() {
        const auto now = std::chrono::steady_clock::now();
        const double seconds = std::chrono::duration<double>(now - last_).count();
        last_ = now;
        return seconds;
    }

  private:
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

std::size_t pair_count(std::size_t n, std::size_t since) {
    const std::size_t old = since < n ? since : n;
    return n * (n - (n != 0)) / 2 - old * (old - (old != 0)) / 2;
}

// The edges of the true graph's core, whichever pairs were sorted out before: the same answer on every
// machine.
void keep_core(std::size_t n, std::size_t min_clique, std::vector<Edge>& edges) {
    if (min_clique > 2) keep_within(core(n, edges, min_clique - 1), edges);
}

double hopeless_share(const Shape& shape) {
    return shape.grid.tile_bytes() <= kSmallTileBytes ? kHopelessShareSmall : kHopelessShare;
}

}  // namespace

bool worth_bounds(const Shape& shape) {
    return shape.grid.tile_bytes() >= kTinyTileBytes && Pyramid::supports(shape);
}

std::vector<Edge> graph(const Isa& isa, const tiled_l2::Images& images, const Shape& shape,
                        const Pyramid* features, const Request& request, Stats& stats) {
    const std::size_t n = images.count;
    Clock clock;
    stats.pairs = pair_count(n, request.since);
    const auto dense = [&] {
        stats.dense = true;
        stats.dense_images = n;
        std::vector<Edge> edges =
            dense_graph(*isa.tiled_l2, images, shape.grid, request.ssd_max, request.since, request.threads);
        keep_core(n, request.min_clique, edges);
        stats.verify_s = clock.lap();
        return edges;
    };
    if (stats.pairs == 0) return {};
    if (features == nullptr && (n <= kDenseImages || !worth_bounds(shape))) {
        return dense();
    }

    std::optional<Pyramid> own;
    if (features == nullptr) {
        own.emplace(shape);
        own->append(*isa.block_bounds, images, shape, 0, n, request.threads);
        features = &*own;
    }
    stats.features_s = clock.lap();

    if (n >= kSampleFrom && request.since == 0 &&
        sample_candidates(*isa.block_bounds, *features, request.ssd_max) > hopeless_share(shape)) {
        stats.bounds_s = clock.lap();
        return dense();
    }
    std::vector<Pair> pairs =
        candidates(*isa.block_bounds, *features, request.ssd_max, request.since, request.threads);
    stats.candidates = stats.core = pairs.size();
    if (request.min_clique > 2) {
        keep_within(core(n, pairs, request.min_clique - 1), pairs);
        stats.core = pairs.size();
    }
    stats.bounds_s = clock.lap();

    std::vector<Edge> edges =
        verify(isa, images, shape, *features, pairs, request.ssd_max, request.since, request.threads, stats);
    keep_core(n, request.min_clique, edges);
    stats.verify_s = clock.lap();
    return edges;
}

}  // namespace memcore::block_bounds
