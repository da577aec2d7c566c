#include "graph/cost_estimate.hpp"

#include <algorithm>
#include <utility>
#include <vector>

#include "graph/candidates.hpp"
#include "graph/costs.hpp"
#include "graph/verify.hpp"

namespace memcore::graph {
namespace {

constexpr std::size_t kSampleImages = 64;
constexpr std::size_t kSampleFrom = 256;     // images, whose features are not taken yet
constexpr std::size_t kTriedOfSample = 128;  // pairs whose likely tile is compared
// Of all pairs at once. Less than 1: components are larger than they seem from some of their images.
constexpr double kProfitableShare = 0.85;
constexpr double kCheapShare = 0.05;  // of all pairs at once: features that take less may be taken

// Returns the time of verifying a component that is `scale` times as large, where the likely tile leaves
// `share` of its pairs.
double verify_ns(const Costs& costs, const Level& finest, const Component& component, double scale,
                 double share) {
    const double pairs = static_cast<double>(component.pairs.size()) * scale * scale;
    const double dense = costs.dense_ns(static_cast<double>(component.vertices.size()) * scale, 0);
    const double check = pairs * costs.check_ns(finest);
    constexpr auto kTries = static_cast<double>(kTried);
    switch (choose(check, dense)) {
        case Way::kDense:
            return dense;
        case Way::kTrySome:
            if (!costs.one_by_one(pairs, check, share * kTries, kTries, dense)) return dense;
            [[fallthrough]];
        default:
            return check + std::min(share * pairs * costs.pair_ns(), dense);
    }
}

}  // namespace

std::vector<std::uint32_t> sample_indices(std::size_t count) {
    std::vector<std::uint32_t> indices(std::min(count, kSampleImages));
    for (std::size_t k = 0; k < indices.size(); ++k)
        indices[k] = static_cast<std::uint32_t>(k * count / indices.size());
    return indices;
}

bool sampling_profitable(KernelTables kernels, const Shape& shape, std::size_t images) {
    const Costs costs(*kernels.panels, shape, images);
    const auto n = static_cast<double>(images);
    return images >= kSampleFrom && n * costs.features_ns() > kCheapShare * costs.dense_ns(n, 0);
}

bool bounds_profitable(KernelTables kernels, const panels::Images* images, const Pyramid& features,
                       std::size_t untaken, const Shape& shape, const Request& request) {
    const std::size_t count = features.size();
    const auto n = static_cast<double>(count);
    const Costs costs(*kernels.panels, shape, count);
    const double enough = kProfitableShare * costs.dense_ns(n, 0);
    double bounded = static_cast<double>(untaken) * costs.features_ns();

    const std::vector<std::uint32_t> indices = sample_indices(count);
    std::vector<std::uint32_t> selection(indices);
    panels::Images some;
    if (images != nullptr) {
        some = *images;
        some.count = selection.size();
        some.selection = selection.data();
        if (images->selection != nullptr) {
            for (std::uint32_t& place : selection) place = images->selection[place];
        }
    }
    Pyramid pyramid(shape);
    pyramid.append(features, indices);

    Survivors left = screen_all(*kernels.bounds, pyramid, request.ssd_max);
    const double scale = n / static_cast<double>(indices.size());
    for (std::size_t l = 0; l < left.evaluated.size(); ++l) {
        bounded +=
            static_cast<double>(left.evaluated[l]) * scale * scale * costs.bounds_ns(pyramid.levels()[l]);
    }
    if (request.min_clique > 2) {
        // A member of the clique has about that many neighbours among these.
        const auto degree = static_cast<std::size_t>(static_cast<double>(request.min_clique - 1) / scale);
        keep_within(core(indices.size(), left.pairs, degree), left.pairs);
    }
    for (const Component& component : components(indices.size(), left.pairs)) {
        if (bounded >= enough) return false;
        double share = 0;
        if (images != nullptr && !request.sums) {
            const double decided = try_pivot(kernels, some, shape, pyramid, component.pairs, request.ssd_max);
            const double vertices = static_cast<double>(component.vertices.size()) * scale;
            const double pivot = vertices * costs.pivot_ns(), dense = costs.dense_ns(vertices, 0);
            if (pivot + (1.0 - decided) * dense < dense) {
                bounded += pivot + (1.0 - decided) * dense;
                continue;
            }
        }
        if (images != nullptr) {
            const auto [kept, tried] =
                try_some(kernels, some, shape, pyramid, component.pairs, kTriedOfSample, request.ssd_max);
            share = static_cast<double>(kept) / static_cast<double>(tried);
        }
        bounded += verify_ns(costs, pyramid.levels().back(), component, scale, share);
    }
    return bounded < enough;
}

}  // namespace memcore::graph
