#include "graph/verify.hpp"

#include <algorithm>
#include <atomic>
#include <functional>
#include <numeric>
#include <tuple>
#include <utility>

#include "graph/costs.hpp"
#include "graph/dense_graph.hpp"
#include "graph/pivots.hpp"
#include "runtime/interrupt.hpp"
#include "runtime/long_sort.hpp"
#include "runtime/thread_pool.hpp"
#include "tiled_l2/tiled_l2.hpp"

namespace memcore::graph {
namespace {

constexpr std::size_t kPairsPerUnit = 16;  // of the pairwise checks
constexpr std::size_t kPairsBetweenChecks = 1 << 12;

class Verifier {
  public:
    Verifier(KernelTables kernels, const panels::Images& images, const Shape& shape, const Pyramid& pyramid,
             const Request& request, Stats& stats)
        : kernels_(kernels),
          images_(images),
          pyramid_(pyramid),
          grid_(shape.grid),
          ssd_max_(request.ssd_max),
          since_(request.since),
          threads_(request.threads),
          stats_(stats),
          costs_(*kernels.panels, shape, pyramid.size()) {}

    void run(const Component& component, std::vector<Edge>& edges) {
        const double check =
            static_cast<double>(component.pairs.size()) * costs_.check_ns(pyramid_.levels().back());
        const double dense = dense_ns(component.vertices);
        const Way way = choose(check, dense);
        if (way == Way::kDense || (way == Way::kTrySome && !sample_rejects(component, check, dense))) {
            run_dense(component, edges);
            return;
        }
        // Most pairs are no edges, and the tile where the bounds see the most difference shows it. Those left
        // are most likely edges, whose every tile counts.
        std::vector<Pair> left = check_likely_tile(component.pairs);
        for (const Component& part : components(images_count(), left)) {
            const double pairwise = static_cast<double>(part.pairs.size()) * costs_.pair_ns();
            pairwise < dense_ns(part.vertices) ? run_pairwise(part.pairs, edges) : run_dense(part, edges);
        }
    }

    // Compares the likely tile of `count` pairs or a few more, evenly spread. Returns how many are left, and
    // how many they are.
    std::pair<std::size_t, std::size_t> try_some(const std::vector<Pair>& pairs, std::size_t count) {
        const std::size_t stride = std::max<std::size_t>(1, pairs.size() / count);
        std::vector<Pair> some;
        for (std::size_t p = 0; p < pairs.size(); p += stride) some.push_back(pairs[p]);
        return {check_likely_tile(some).size(), some.size()};
    }

    // Appends the edges that upper bounds prove to `edges` and returns the other pairs.
    std::vector<Pair> accept_certain(const std::vector<Pair>& pairs, std::vector<Edge>& edges) {
        const Level& finest = pyramid_.levels().back();
        std::vector<std::uint8_t> sure(pairs.size());
        for (std::size_t p = 0; p < pairs.size(); p += kPairsBetweenChecks) {
            check_interrupt();
            kernels_.bounds->certain(finest.vectors.data(), finest.stride, pyramid_.groups(), finest.rows,
                                     pyramid_.sure_limit(pyramid_.levels().size() - 1, ssd_max_), &pairs[p].i,
                                     std::min(kPairsBetweenChecks, pairs.size() - p), sure.data() + p);
        }
        std::vector<Pair> others;
        for (std::size_t p = 0; p < pairs.size(); ++p) {
            if (sure[p] == 0) {
                others.push_back(pairs[p]);
            } else {
                edges.push_back(
                    {static_cast<std::int32_t>(pairs[p].i), static_cast<std::int32_t>(pairs[p].j), 0});
            }
        }
        stats_.certain += pairs.size() - others.size();
        return others;
    }

    std::vector<Pair> by_pivots(const Component& component, std::vector<Edge>& edges) {
        const PivotCosts costs{costs_.pivot_ns(), [&](const auto& some) { return dense_ns(some); }};
        std::vector<Pair> left = decide_by_pivots(
            component.pairs, images_count(), ssd_max_, costs,
            [&](const std::vector<Pair>& some) { return largest_ssd(some); }, edges);
        stats_.by_pivots += component.pairs.size() - left.size();
        return left;
    }

    double try_pivot(const std::vector<Pair>& pairs) {
        return share_by_pivot(pairs, images_count(), ssd_max_,
                              [&](const std::vector<Pair>& some) { return largest_ssd(some); });
    }

    void finish() { stats_.tiles_checked += tiles_checked_.load(); }

  private:
    std::size_t images_count() const { return pyramid_.size(); }
    // How many of the images, ascending, are old: pairs of two of them were decided before.
    std::size_t old_among(const std::vector<std::uint32_t>& vertices) const {
        return static_cast<std::size_t>(std::lower_bound(vertices.begin(), vertices.end(), since_) -
                                        vertices.begin());
    }
    double dense_ns(const std::vector<std::uint32_t>& vertices) const {
        const double old = static_cast<double>(old_among(vertices));
        const double fresh = static_cast<double>(vertices.size()) - old;
        return costs_.dense_ns(fresh, old);
    }

    bool sample_rejects(const Component& component, double check, double dense) {
        const auto [left, tried] = try_some(component.pairs, kTried);
        return costs_.one_by_one(static_cast<double>(component.pairs.size()), check,
                                 static_cast<double>(left), static_cast<double>(tried), dense);
    }

    std::uint64_t ssd(const Pair& pair, std::size_t tile) {
        return tiled_l2::tile_ssd(*kernels_.panels, images_, pair.i, pair.j, grid_, tile / grid_.tile_columns,
                                  tile % grid_.tile_columns, ssd_max_);
    }

    std::vector<Pair> check_likely_tile(const std::vector<Pair>& pairs) {
        const Level& finest = pyramid_.levels().back();
        std::vector<std::uint8_t> keep(pairs.size());
        for_each(pairs, [&](std::size_t p) {
            const std::size_t lane = kernels_.bounds->likely_largest(
                finest.image(pairs[p].i), finest.image(pairs[p].j), pyramid_.groups(), finest.rows);
            // Padding lanes are zero on both sides, so one is named only where all tiles look alike.
            const std::size_t tile = std::min(lane, pyramid_.shape().tiles() - 1);
            keep[p] = ssd(pairs[p], tile) <= ssd_max_;
            return std::size_t{1};
        });
        std::vector<Pair> left;
        for (std::size_t p = 0; p < pairs.size(); ++p) {
            if (keep[p] != 0) left.push_back(pairs[p]);
        }
        return left;
    }

    // One above ssd_max may be too small.
    std::vector<std::uint64_t> largest_ssd(const std::vector<Pair>& pairs) {
        std::vector<std::uint64_t> largest(pairs.size(), 0);
        for_each(pairs, [&](std::size_t p) {
            std::size_t tile = 0;
            for (; tile < pyramid_.shape().tiles() && largest[p] <= ssd_max_; ++tile)
                largest[p] = std::max(largest[p], ssd(pairs[p], tile));
            return tile;
        });
        return largest;
    }

    void run_pairwise(const std::vector<Pair>& pairs, std::vector<Edge>& edges) {
        const std::vector<std::uint64_t> largest = largest_ssd(pairs);
        for (std::size_t p = 0; p < pairs.size(); ++p) {
            if (largest[p] > ssd_max_) continue;
            edges.push_back(
                {static_cast<std::int32_t>(pairs[p].i), static_cast<std::int32_t>(pairs[p].j), largest[p]});
        }
    }

    // Computes all pairs of the component's images. Those that are no candidates are no edges, or are not
    // requested.
    void run_dense(const Component& component, std::vector<Edge>& edges) {
        const std::vector<std::uint32_t>& vertices = component.vertices;
        stats_.dense_images += vertices.size();
        std::vector<std::uint32_t> indices(vertices);
        panels::Images selected = images_;
        selected.count = vertices.size();
        if (images_.selection != nullptr) {
            for (std::uint32_t& index : indices) index = images_.selection[index];
        }
        selected.selection = indices.data();
        std::size_t p = 0;  // pairs and edges are both sorted
        for (const Edge& edge :
             dense_graph(*kernels_.panels, selected, grid_, ssd_max_, old_among(vertices), threads_)) {
            const Pair pair{vertices[static_cast<std::size_t>(edge.i)],
                            vertices[static_cast<std::size_t>(edge.j)]};
            const auto before = [&](const Pair& a) { return a.i != pair.i ? a.i < pair.i : a.j < pair.j; };
            while (p < component.pairs.size() && before(component.pairs[p])) ++p;
            if (p == component.pairs.size()) break;
            if (component.pairs[p].i != pair.i || component.pairs[p].j != pair.j) continue;
            edges.push_back({static_cast<std::int32_t>(pair.i), static_cast<std::int32_t>(pair.j), edge.ssd});
        }
    }

    // Returns the order in which pairs are compared. Where the images do not fit the cache, a few rows of
    // pairs are taken together, column by column: so an image is read once for several pairs, and the rows'
    // images stay cached.
    std::vector<std::uint32_t> order(const std::vector<Pair>& pairs) const {
        std::vector<std::uint32_t> ordered(pairs.size());
        std::iota(ordered.begin(), ordered.end(), 0U);
        if (!costs_.far()) return ordered;
        const auto rows = static_cast<std::uint32_t>(costs_.cached_images());
        const auto key = [&](std::uint32_t p) {
            return std::tuple(pairs[p].i / rows, pairs[p].j, pairs[p].i);
        };
        long_sort(ordered.begin(), ordered.end(),
                  [&](std::uint32_t a, std::uint32_t b) { return key(a) < key(b); });
        return ordered;
    }

    // `each` takes a pair's index and returns how many tiles it compared.
    template <class Each>
    void for_each(const std::vector<Pair>& pairs, Each&& each) {
        const std::vector<std::uint32_t> ordered = order(pairs);
        const std::size_t count = pairs.size();
        parallel_for((count + kPairsPerUnit - 1) / kPairsPerUnit, threads_,
                     [&](std::size_t unit, std::size_t) {
                         std::size_t tiles = 0;
                         for (std::size_t p = unit * kPairsPerUnit;
                              p < std::min(count, (unit + 1) * kPairsPerUnit); ++p)
                             tiles += each(ordered[p]);
                         tiles_checked_.fetch_add(tiles, std::memory_order_relaxed);
                     });
    }

    const KernelTables kernels_;
    const panels::Images& images_;
    const Pyramid& pyramid_;
    const panels::Grid& grid_;
    const std::uint64_t ssd_max_;
    const std::size_t since_;
    const int threads_;
    Stats& stats_;
    const Costs costs_;
    std::atomic<std::size_t> tiles_checked_{0};
};

}  // namespace

std::vector<Edge> verify(KernelTables kernels, const panels::Images& images, const Shape& shape,
                         const Pyramid& pyramid, const std::vector<Pair>& pairs, const Request& request,
                         Stats& stats) {
    std::vector<Edge> edges;
    Verifier verifier(kernels, images, shape, pyramid, request, stats);
    if (request.sums) {
        for (const Component& component : components(pyramid.size(), pairs)) verifier.run(component, edges);
    } else {
        const std::vector<Pair> uncertain = verifier.accept_certain(pairs, edges);
        for (const Component& component : components(pyramid.size(), uncertain)) {
            for (const Component& part : components(pyramid.size(), verifier.by_pivots(component, edges)))
                verifier.run(part, edges);
        }
        for (Edge& edge : edges) edge.ssd = 0;
    }
    verifier.finish();
    long_sort(edges.begin(), edges.end(), std::less<>());
    return edges;
}

double try_pivot(KernelTables kernels, const panels::Images& images, const Shape& shape,
                 const Pyramid& pyramid, const std::vector<Pair>& pairs, std::uint64_t ssd_max) {
    Stats stats;
    Request request;
    request.ssd_max = ssd_max;
    request.threads = 1;
    return Verifier(kernels, images, shape, pyramid, request, stats).try_pivot(pairs);
}

std::pair<std::size_t, std::size_t> try_some(KernelTables kernels, const panels::Images& images,
                                             const Shape& shape, const Pyramid& pyramid,
                                             const std::vector<Pair>& pairs, std::size_t count,
                                             std::uint64_t ssd_max) {
    Stats stats;
    Request request;
    request.ssd_max = ssd_max;
    request.threads = 1;
    return Verifier(kernels, images, shape, pyramid, request, stats).try_some(pairs, count);
}

}  // namespace memcore::graph
