// The exact thresholded graph: bounds reject most pairs, integers decide the rest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "graph/edges.hpp"
#include "graph/kernel_tables.hpp"
#include "graph/pyramid.hpp"
#include "panels/images.hpp"

namespace memcore::graph {

struct Stats {
    std::size_t pairs = 0;            // requested
    std::size_t candidates = 0;       // left by the bounds
    std::size_t core = 0;             // of those, left by the core of the candidate graph
    std::size_t certain = 0;          // of those, edges by their upper bounds
    std::size_t by_pivots = 0;        // of those, decided by their distances to a third image
    std::size_t tiles_checked = 0;    // tiles of single pairs compared in integers
    std::size_t features_images = 0;  // images whose features were computed
    std::size_t dense_images = 0;     // images that went through the dense kernel
    double features_s = 0, bounds_s = 0, verify_s = 0;
    bool dense = false;  // bounds were not profitable: every pair was computed
};

struct Request {
    std::uint64_t ssd_max = 0;
    std::size_t since = 0;  // only pairs with j >= since
    bool sums = true;       // the edges' ssd; without, they are 0, and upper bounds and pivots may decide
    std::size_t min_clique = 0;  // k > 2: only edges of the (k - 1)-core, where every clique of k lies
    int threads = 0;
};

// Returns whether tiles are large enough for bounds to cost less than the distances themselves, and not too
// large for their sums.
bool bounds_applicable(const Shape& shape);

// What the bounds leave to integers.
struct Screened {
    std::vector<Pair> pairs;  // sorted
    bool all = false;         // they decide too little: every pair is to be computed
};

// The first half of `thresholded_graph`, which needs features and no images. `features` is nullptr where
// bounds are not applicable; `images` is the number of images.
Screened screen(KernelTables kernels, const Pyramid* features, std::size_t images, const Request& request,
                Stats& stats);

// The second half. It reads only the images of the pairs that are left: where `images` has a selection, its
// entries for other images may be any.
std::vector<Edge> decide(KernelTables kernels, const panels::Images& images, const Shape& shape,
                         const Pyramid* features, const Screened& screened, const Request& request,
                         Stats& stats);

// Pairs i < j of batch 0 whose largest tile's ssd is at most ssd_max, sorted, with that ssd. `features` are
// those of all images; where it is nullptr they are computed here.
std::vector<Edge> thresholded_graph(KernelTables kernels, const panels::Images& images, const Shape& shape,
                                    const Pyramid* features, const Request& request, Stats& stats);

}  // namespace memcore::graph
