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

Screened screen(const Isa& isa, const Pyramid* features, std::size_t images, const Request& request,
                Stats& stats) {
    Clock clock;
    Screened screened;
    stats.pairs = pair_count(images, request.since);
    if (stats.pairs == 0) return screened;
    screened.all = features == nullptr;
    if (!screened.all && images >= kSampleFrom && request.since == 0) {
        const double share = sample_candidates(*isa.block_bounds, *features, request.ssd_max);
        screened.all = share > hopeless_share(features->shape());
    }
    if (!screened.all) {
        screened.pairs =
            candidates(*isa.block_bounds, *features, request.ssd_max, request.since, request.threads);
        stats.candidates = stats.core = screened.pairs.size();
        if (request.min_clique > 2) {
            keep_within(core(images, screened.pairs, request.min_clique - 1), screened.pairs);
            stats.core = screened.pairs.size();
        }
    }
    stats.bounds_s = clock.lap();
    return screened;
}

std::vector<Edge> decide(const Isa& isa, const tiled_l2::Images& images, const Shape& shape,
                         const Pyramid* features, const Screened& screened, const Request& request,
                         Stats& stats) {
    Clock clock;
    std::vector<Edge> edges;
    if (screened.all) {
        stats.dense = true;
        stats.dense_images = images.count;
        edges =
            dense_graph(*isa.tiled_l2, images, shape.grid, request.ssd_max, request.since, request.threads);
    } else if (!screened.pairs.empty()) {
        edges = verify(isa, images, shape, *features, screened.pairs, request.ssd_max, request.since,
                       request.threads, stats);
    }
    keep_core(images.count, request.min_clique, edges);
    stats.verify_s = clock.lap();
    return edges;
}

std::vector<Edge> graph(const Isa& isa, const tiled_l2::Images& images, const Shape& shape,
                        const Pyramid* features, const Request& request, Stats& stats) {
    Clock clock;
    std::optional<Pyramid> own;
    if (features == nullptr && images.count > kDenseImages && worth_bounds(shape)) {
        own.emplace(shape);
        own->append(*isa.block_bounds, images, shape, 0, images.count, request.threads);
        features = &*own;
    }
    stats.features_s = clock.lap();
    const Screened screened = screen(isa, features, images.count, request, stats);
    return decide(isa, images, shape, features, screened, request, stats);
}

}  // namespace memcore::block_bounds
