#include "graph/candidates.hpp"

#include <algorithm>
#include <array>

#include "runtime/thread_pool.hpp"

namespace memcore::graph {
namespace {

// Pairs of a row, evenly spread, by which the row is judged.
constexpr std::size_t kSample = 32;

// Takes one row of pairs at a time through all levels, coarse to fine.
class Screen {
  public:
    Screen(const Kernels& kernels, const Pyramid& pyramid, std::uint64_t ssd_max, bool skip_idle = false)
        : kernels_(kernels), pyramid_(pyramid), skip_idle_(skip_idle) {
        for (std::size_t l = 0; l < pyramid.levels().size(); ++l)
            limits_.push_back(pyramid.limit(l, ssd_max));
    }

    // Appends the pairs (i, j), begin <= j < end, that are left.
    void row(std::size_t i, std::size_t begin, std::size_t end, std::vector<Pair>& left) {
        kept_.resize(end - begin + 1);  // the kernel writes one element ahead
        const Level& coarsest = pyramid_.levels().front();
        const std::size_t count =
            kernels_.survivors(coarsest.image(i), coarsest.image(0), coarsest.stride, begin, end,
                               pyramid_.groups(), coarsest.rows, limits_[0], kept_.data());
        for (std::size_t k = 0; k < count; ++k) left.push_back({static_cast<std::uint32_t>(i), kept_[k]});
    }

    // The finer levels, for the pairs from `first` on.
    void refine(std::size_t first, std::vector<Pair>& pairs, std::vector<std::size_t>* evaluated = nullptr) {
        static_assert(sizeof(Pair) == 2 * sizeof(std::uint32_t));
        for (std::size_t l = 1; l < pyramid_.levels().size(); ++l) {
            const Level& level = pyramid_.levels()[l];
            const std::size_t count = pairs.size() - first;
            if (evaluated != nullptr) evaluated->push_back(count);
            if (skip_idle_ && keeps_sample(l, first, pairs)) continue;
            keep_.resize(count);
            kernels_.screen(level.image(0), level.stride, pyramid_.groups(), level.rows, limits_[l],
                            &pairs.data()[first].i, count, keep_.data());
            std::size_t to = first;
            for (std::size_t p = 0; p < count; ++p) {
                if (keep_[p] != 0) pairs[to++] = pairs[first + p];
            }
            pairs.resize(to);
        }
    }

  private:
    bool keeps_sample(std::size_t l, std::size_t first, const std::vector<Pair>& pairs) {
        const std::size_t count = pairs.size() - first;
        if (count < 2 * kSample) return false;
        std::array<Pair, kSample> some;
        std::array<std::uint8_t, kSample> keep;
        for (std::size_t k = 0; k < kSample; ++k) some[k] = pairs[first + k * count / kSample];
        const Level& level = pyramid_.levels()[l];
        kernels_.screen(level.image(0), level.stride, pyramid_.groups(), level.rows, limits_[l], &some[0].i,
                        kSample, keep.data());
        return std::all_of(keep.begin(), keep.end(), [](std::uint8_t kept) { return kept != 0; });
    }

    const Kernels& kernels_;
    const Pyramid& pyramid_;
    const bool skip_idle_;
    std::vector<float> limits_;
    std::vector<std::uint32_t> kept_;
    std::vector<std::uint8_t> keep_;
};

}  // namespace

std::vector<Pair> candidates(const Kernels& kernels, const Pyramid& pyramid, std::uint64_t ssd_max,
                             std::size_t since, int threads, bool skip_idle) {
    constexpr std::size_t kRowsPerUnit = 8;
    const std::size_t n = pyramid.size(), units = (n + kRowsPerUnit - 1) / kRowsPerUnit;
    std::vector<std::vector<Pair>> left(units);
    parallel_for(units, threads, [&](std::size_t unit, std::size_t) {
        Screen screen(kernels, pyramid, ssd_max, skip_idle);
        for (std::size_t i = unit * kRowsPerUnit; i < std::min(n, (unit + 1) * kRowsPerUnit); ++i) {
            const std::size_t first = left[unit].size();
            screen.row(i, std::max(i + 1, since), n, left[unit]);
            if (left[unit].size() != first) screen.refine(first, left[unit]);
        }
    });
    std::size_t total = 0;
    for (const auto& part : left) total += part.size();
    std::vector<Pair> pairs;
    pairs.reserve(total);
    for (const auto& part : left) pairs.insert(pairs.end(), part.begin(), part.end());
    return pairs;
}

Survivors screen_all(const Kernels& kernels, const Pyramid& pyramid, std::uint64_t ssd_max) {
    const std::size_t n = pyramid.size();
    Screen screen(kernels, pyramid, ssd_max);
    Survivors all;
    for (std::size_t i = 0; i < n; ++i) screen.row(i, i + 1, n, all.pairs);
    all.evaluated.push_back(n * (n - (n != 0)) / 2);
    screen.refine(0, all.pairs, &all.evaluated);
    return all;
}

}  // namespace memcore::graph
