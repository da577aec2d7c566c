#include "graph/graph.hpp"

#include <chrono>
#include <optional>

#include "graph/candidates.hpp"
#include "graph/cost_estimate.hpp"
#include "graph/dense_graph.hpp"
#include "graph/verify.hpp"

namespace memcore::graph {
namespace {

constexpr std::size_t kTinyTileBytes = 48;  // smaller tiles get no bounds
constexpr std::size_t kDenseImages = 8;     // up to this number of images get no bounds
constexpr std::size_t kSampleFrom = 64;     // from this number of images on, a sample decides

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

// Keeps the edges of the true graph's core, whichever pairs were rejected before: the same answer on every
// machine.
void keep_core(std::size_t n, std::size_t min_clique, std::vector<Edge>& edges) {
    if (min_clique > 2) keep_within(core(n, edges, min_clique - 1), edges);
}

// Whether a sample shows that bounds would not save time.
bool sample_rejects_bounds(KernelTables kernels, const panels::Images* images, const Shape& shape,
                           const Pyramid& features, const Request& request) {
    return features.size() >= kSampleFrom && request.since == 0 &&
           !bounds_profitable(kernels, images, features, 0, shape, request);
}

Screened screen_or_all(KernelTables kernels, const Pyramid* features, std::size_t images, bool all,
                       const Request& request, Stats& stats) {
    Screened screened;
    screened.all = all;
    if (all) return screened;
    screened.pairs = candidates(*kernels.bounds, *features, request.ssd_max, request.since, request.threads,
                                !request.sums);
    stats.candidates = stats.core = screened.pairs.size();
    if (request.min_clique > 2) {
        keep_within(core(images, screened.pairs, request.min_clique - 1), screened.pairs);
        stats.core = screened.pairs.size();
    }
    return screened;
}

}  // namespace

bool bounds_applicable(const Shape& shape) {
    return shape.grid.tile_bytes() >= kTinyTileBytes && Pyramid::supports(shape);
}

Screened screen(KernelTables kernels, const Pyramid* features, std::size_t images, const Request& request,
                Stats& stats) {
    Clock clock;
    stats.pairs = pair_count(images, request.since);
    if (stats.pairs == 0) return {};
    const bool all =
        features == nullptr || sample_rejects_bounds(kernels, nullptr, features->shape(), *features, request);
    Screened screened = screen_or_all(kernels, features, images, all, request, stats);
    stats.bounds_s = clock.lap();
    return screened;
}

std::vector<Edge> decide(KernelTables kernels, const panels::Images& images, const Shape& shape,
                         const Pyramid* features, const Screened& screened, const Request& request,
                         Stats& stats) {
    Clock clock;
    std::vector<Edge> edges;
    if (screened.all) {
        stats.dense = true;
        stats.dense_images = images.count;
        edges =
            dense_graph(*kernels.panels, images, shape.grid, request.ssd_max, request.since, request.threads);
        if (!request.sums) {
            for (Edge& edge : edges) edge.ssd = 0;
        }
    } else if (!screened.pairs.empty()) {
        edges = verify(kernels, images, shape, *features, screened.pairs, request, stats);
    }
    keep_core(images.count, request.min_clique, edges);
    stats.verify_s = clock.lap();
    return edges;
}

std::vector<Edge> thresholded_graph(KernelTables kernels, const panels::Images& images, const Shape& shape,
                                    const Pyramid* features, const Request& request, Stats& stats) {
    const std::size_t n = images.count;
    stats.pairs = pair_count(n, request.since);
    if (stats.pairs == 0) return {};
    Clock clock;
    std::optional<Pyramid> taken;
    bool all = features == nullptr && (n <= kDenseImages || !bounds_applicable(shape));
    if (!all && features == nullptr) {
        taken.emplace(shape);
        if (request.since == 0 && sampling_profitable(kernels, shape, n)) {
            const std::vector<std::uint32_t> indices = sample_indices(n);
            taken->begin(*kernels.bounds, images, shape, n, indices, request.threads);
            stats.features_s = clock.lap();
            stats.features_images = indices.size();
            all = !bounds_profitable(kernels, &images, *taken, n - indices.size(), shape, request);
            stats.bounds_s += clock.lap();
            if (!all) {
                taken->complete(*kernels.bounds, images, shape, indices, request.threads);
                stats.features_s += clock.lap();
                stats.features_images = n;
            }
        } else {
            taken->append(*kernels.bounds, images, shape, 0, n, request.threads);
            stats.features_s = clock.lap();
            stats.features_images = n;
            all = sample_rejects_bounds(kernels, &images, shape, *taken, request);
        }
        features = &*taken;
    } else if (!all) {
        all = sample_rejects_bounds(kernels, &images, shape, *features, request);
    }
    const Screened screened = screen_or_all(kernels, features, n, all, request, stats);
    stats.bounds_s += clock.lap();
    return decide(kernels, images, shape, features, screened, request, stats);
}

}  // namespace memcore::graph
