#include "graph/pivots.hpp"

#include <algorithm>
#include <utility>

#include "runtime/interrupt.hpp"

namespace memcore::graph {
namespace {

__extension__ typedef unsigned __int128 Wide;  // holds the square of a sum of squares, 82 bits

constexpr std::size_t kSample = 12;       // neighbours in a pivot's sample, and the least that a pivot has
constexpr double kProfitableShare = 0.5;  // of the sample's pairs, and of the dense time
constexpr std::uint64_t kUnseen = UINT64_MAX;

std::uint32_t other(const Pair& pair, std::uint32_t vertex) { return pair.i == vertex ? pair.j : pair.i; }

// The image in most pairs, the first of several, and those pairs.
std::pair<std::uint32_t, std::vector<Pair>> choose_pivot(const std::vector<Pair>& pairs, std::size_t images) {
    std::vector<std::uint32_t> degree(images);
    visit_each(pairs, [&](const Pair& pair) {
        ++degree[pair.i];
        ++degree[pair.j];
    });
    const auto pivot =
        static_cast<std::uint32_t>(std::max_element(degree.begin(), degree.end()) - degree.begin());
    std::vector<Pair> spokes;
    visit_each(pairs, [&](const Pair& pair) {
        if (pair.i == pivot || pair.j == pivot) spokes.push_back(pair);
    });
    return {pivot, std::move(spokes)};
}

std::vector<std::uint32_t> list_images(const std::vector<Pair>& pairs, std::size_t images) {
    std::vector<char> seen(images);
    visit_each(pairs, [&](const Pair& pair) { seen[pair.i] = seen[pair.j] = 1; });
    std::vector<std::uint32_t> found;
    for (std::size_t v = 0; v < images; ++v) {
        if (seen[v] != 0) found.push_back(static_cast<std::uint32_t>(v));
    }
    return found;
}

// The share of the pairs among some of the pivot's neighbours that it decides.
double share_of_sample(const std::vector<Pair>& spokes, std::uint64_t ssd_max, const SsdOf& ssd) {
    std::vector<Pair> some;
    for (std::size_t k = 0; k < kSample; ++k) some.push_back(spokes[k * spokes.size() / kSample]);
    const std::vector<std::uint64_t> sums = ssd(some);
    int decided = 0, all = 0;
    for (std::size_t a = 0; a < sums.size(); ++a) {
        for (std::size_t b = a + 1; b < sums.size(); ++b, ++all)
            decided += by_triangle(sums[a], sums[b], ssd_max) != Verdict::kUnknown;
    }
    return static_cast<double>(decided) / all;
}

}  // namespace

Verdict by_triangle(std::uint64_t a, std::uint64_t b, std::uint64_t ssd_max) {
    // (sqrt(a) +- sqrt(b))^2 = a + b +- 2 sqrt(ab), compared with ssd_max by the squares of what is left.
    const std::uint64_t sum = a + b;
    const std::uint64_t difference = sum > ssd_max ? sum - ssd_max : ssd_max - sum;
    const Wide product = static_cast<Wide>(a) * b * 4, square = static_cast<Wide>(difference) * difference;
    if (sum <= ssd_max) return product <= square ? Verdict::kEdge : Verdict::kUnknown;
    // Where both are above, both may be too small, and nothing is known of their difference.
    return std::min(a, b) <= ssd_max && square > product ? Verdict::kNoEdge : Verdict::kUnknown;
}

std::vector<Pair> decide_by_pivots(std::vector<Pair> pairs, std::size_t images, std::uint64_t ssd_max,
                                   const PivotCosts& costs, const SsdOf& ssd, std::vector<Edge>& edges) {
    std::vector<std::uint64_t> distance;
    for (;;) {
        check_interrupt();
        const auto [chosen, spokes] = choose_pivot(pairs, images);
        const std::uint32_t pivot = chosen;  // clang 14 lets no lambda capture "chosen" itself
        const double cost = static_cast<double>(spokes.size()) * costs.pivot_ns;
        if (spokes.size() < kSample || cost > kProfitableShare * costs.dense_ns(list_images(pairs, images)) ||
            share_of_sample(spokes, ssd_max, ssd) < kProfitableShare)
            return pairs;

        const std::vector<std::uint64_t> sums = ssd(spokes);
        distance.assign(images, kUnseen);
        distance[pivot] = 0;
        for (std::size_t s = 0; s < spokes.size(); ++s) distance[other(spokes[s], pivot)] = sums[s];
        std::vector<Pair> left;
        visit_each(pairs, [&](const Pair& pair) {
            const std::uint64_t a = distance[pair.i], b = distance[pair.j];
            Verdict verdict = Verdict::kUnknown;
            if (pair.i == pivot || pair.j == pivot) {
                verdict = std::max(a, b) <= ssd_max ? Verdict::kEdge : Verdict::kNoEdge;
            } else if (a != kUnseen && b != kUnseen) {
                verdict = by_triangle(a, b, ssd_max);
            }
            if (verdict == Verdict::kUnknown) left.push_back(pair);
            if (verdict == Verdict::kEdge)
                edges.push_back({static_cast<std::int32_t>(pair.i), static_cast<std::int32_t>(pair.j), 0});
        });
        // Where most of the pairs stay, further pivots would not do better.
        if (2 * left.size() > pairs.size()) return left;
        pairs = std::move(left);
    }
}

double share_by_pivot(const std::vector<Pair>& pairs, std::size_t images, std::uint64_t ssd_max,
                      const SsdOf& ssd) {
    const std::vector<Pair> spokes = choose_pivot(pairs, images).second;
    return spokes.size() < kSample ? 0.0 : share_of_sample(spokes, ssd_max, ssd);
}

}  // namespace memcore::graph
