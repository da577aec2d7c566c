// Rough times of the ways to a graph, in nanoseconds. They choose between ways to the same answer, never the
// answer, and are never measured at run time.
#pragma once

#include <cstddef>

#include "graph/pyramid.hpp"
#include "panels/contract.hpp"

namespace memcore::graph {

class Costs {
  public:
    // Of `images` images of that shape.
    Costs(const panels::Kernels& kernels, const Shape& shape, std::size_t images);

    // Whether reading all images reads memory, not a cache.
    bool far() const { return far_; }
    // The number of images that stay in a cache.
    std::size_t cached_images() const;

    // To take the features of an image.
    double features_ns() const;
    // To bound a pair on a level of the pyramid.
    double bounds_ns(const Level& level) const;
    // All tiles of a pair, one pair at a time.
    double pair_ns() const;
    // All tiles of a pair of which one image stays in a cache: its lines are read in order.
    double pivot_ns() const;
    // To find the tile of a pair that is likely to differ most, from their features on a level, and compare
    // it.
    double check_ns(const Level& level) const;
    // Whether `pairs` pairs one by one are likely to take less time than `dense`, all at once, where
    // comparing the likely tile takes `check` for all of them and left `left` of a sample of `tried`.
    bool one_by_one(double pairs, double check, double left, double tried, double dense) const;
    // All pairs with one of `fresh` images, among themselves and with `old` others, at once.
    double dense_ns(double fresh, double old) const;

  private:
    double kilobytes_, tiles_, lines_, dot_ns_, near_ns_;
    std::size_t groups_;
    bool far_;
};

// How to decide the candidate pairs of some images, where comparing one tile of each takes `check` and all
// pairs at once `dense`.
enum class Way { kDense, kTrySome, kOneByOne };
Way choose(double check, double dense);

// Pairs whose likely tile is tried before all are.
inline constexpr std::size_t kTried = 32;

}  // namespace memcore::graph
