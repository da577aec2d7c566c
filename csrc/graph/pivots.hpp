// Pairs decided by the triangle inequality, which holds for the tiled l2: the maximum of metrics is one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "graph/edges.hpp"

namespace memcore::graph {

enum class Verdict : std::uint8_t { kUnknown, kEdge, kNoEdge };

// Of two images whose largest tiles' ssd to a third one are a and b: edge where sqrt(a) + sqrt(b) <=
// sqrt(ssd_max), none where |sqrt(a) - sqrt(b)| > sqrt(ssd_max), in integers. A sum above ssd_max may be too
// small: such a one proves no edge, and what it refutes stays refuted.
Verdict by_triangle(std::uint64_t a, std::uint64_t b, std::uint64_t ssd_max);

// The times of one image's distance to a pivot, and of all pairs of some images at once.
struct PivotCosts {
    double pivot_ns;
    std::function<double(const std::vector<std::uint32_t>& images)> dense_ns;
};

// The ssd of each pair's largest tile; one above ssd_max may be too small.
using SsdOf = std::function<std::vector<std::uint64_t>(const std::vector<Pair>& pairs)>;

// Decides what it can of `pairs`, ascending, of `images` images by one pivot after the other, as long as that
// is likely to take less than what it saves. Edges go to `edges`, with an ssd of 0; returns the pairs that
// are left, ascending.
std::vector<Pair> decide_by_pivots(std::vector<Pair> pairs, std::size_t images, std::uint64_t ssd_max,
                                   const PivotCosts& costs, const SsdOf& ssd, std::vector<Edge>& edges);

// Returns the share of its sample of pairs that the pivot of `pairs` decides, 0 where no pivot would be
// tried. The sample is small and costs little.
double share_by_pivot(const std::vector<Pair>& pairs, std::size_t images, std::uint64_t ssd_max,
                      const SsdOf& ssd);

}  // namespace memcore::graph
