#include "graph/costs.hpp"

#include <algorithm>

namespace memcore::graph {
namespace {

// Images of more bytes than this are read from memory, not from a cache; up to this number of bytes stay in
// one.
constexpr double kCacheBytes = 8.0 * (1 << 20);
// The extra time of 1,024 bytes of a pair that are read from memory: lines of a tile are too short and too
// far from one another for the processor to read ahead, so this is nearly the whole time, on every
// instruction set.
constexpr double kFarNs = 300.0;
constexpr double kFarPivotNs = 100.0;  // the same where the other image stays in a cache
constexpr double kPackNs = 60.0;       // to pack 1,024 bytes of an image
constexpr double kFarPackNs = 160.0;   // the extra time where they are read from memory
constexpr double kTileNs = 40.0;       // to begin with a tile of a pair, however small it is
constexpr double kDenseTileNs = 0.6;   // to take a tile's ssd into the answer
constexpr double kReadNs = 80.0;       // to read 1,024 bytes of an image
constexpr double kTileLineNs = 12.0;   // to begin with a line of a tile
constexpr double kBoundNs = 6.0;       // to begin with a pair's bound
constexpr double kBoundRowNs = 1.0;    // a row of sixteen lanes of it
constexpr double kLikelyRows = 1.5;    // to find the likely tile, of what a bound takes
// Checking pairs one by one may take the small share of the time of computing all of them, whatever the
// result; and the large share where a sample shows that nearly none is left afterwards. So the worst case
// stays near one dense computation.
constexpr double kSmallShare = 0.15, kLargeShare = 0.75;

}  // namespace

Costs::Costs(const panels::Kernels& kernels, const Shape& shape, std::size_t images)
    : kilobytes_(static_cast<double>(shape.grid.tile_bytes() * shape.tiles()) / 1024.0),
      tiles_(static_cast<double>(shape.tiles())),
      lines_(static_cast<double>(shape.grid.lines())),
      dot_ns_(static_cast<double>(kernels.dot_ns)),
      near_ns_(static_cast<double>(kernels.pair_ns)),
      groups_((shape.tiles() + kLanes - 1) / kLanes),
      far_(1024.0 * kilobytes_ * static_cast<double>(images) > kCacheBytes) {}

std::size_t Costs::cached_images() const {
    return static_cast<std::size_t>(std::max(1.0, kCacheBytes / (1024.0 * kilobytes_)));
}

double Costs::features_ns() const { return kilobytes_ * kReadNs + tiles_ * lines_ * kTileLineNs; }

double Costs::bounds_ns(const Level& level) const {
    return kBoundNs + kBoundRowNs * static_cast<double>(groups_ * level.rows);
}

double Costs::pair_ns() const { return kilobytes_ * (near_ns_ + (far_ ? kFarNs : 0.0)) + tiles_ * kTileNs; }

double Costs::pivot_ns() const {
    return kilobytes_ * (near_ns_ + (far_ ? kFarPivotNs : 0.0)) + tiles_ * kTileNs;
}

double Costs::check_ns(const Level& level) const {
    return pair_ns() / tiles_ + kLikelyRows * bounds_ns(level);
}

bool Costs::one_by_one(double pairs, double check, double left, double tried, double dense) const {
    // One more than in the sample: that none of a few pairs is left proves little about the others.
    return check + (left + 1.0) / tried * pairs * pair_ns() < dense;
}

double Costs::dense_ns(double fresh, double old) const {
    const double pairs = fresh * (fresh + 32.0) / 2.0 + fresh * old;
    const double pack_ns = kPackNs + (far_ ? kFarPackNs : 0.0);
    return kilobytes_ * (pairs * dot_ns_ + (fresh + old) * pack_ns) + pairs * tiles_ * kDenseTileNs;
}

Way choose(double check, double dense) {
    if (check <= kSmallShare * dense) return Way::kOneByOne;
    return check > kLargeShare * dense ? Way::kDense : Way::kTrySome;
}

}  // namespace memcore::graph
