// The pairs that are computed together.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>

#include "panels/contract.hpp"

namespace memcore::tiled_l2 {

using panels::kPanelImages;

inline constexpr std::size_t kFewImages = 8;  // a last panel of at most this number of images is used as rows

// A block of pairs: rows [row, row + rows) with columns [column, column + columns).
struct Block {
    std::size_t row, rows, column, columns;
    bool triangle;
};

// Which columns of each row of a triangle are computed. Full panels: on and above the diagonal, in whole
// panels. A last panel of few images would waste most of its columns, so its images are rows against
// everything before them instead, where kernels take rows of less than a panel (`part_panels`).
struct Triangle {
    std::size_t images, full_panels, tail;

    Triangle(std::size_t n, bool part_panels)
        : images(n), full_panels(n / kPanelImages), tail(n % kPanelImages) {
        if (full_panels == 0 || tail > kFewImages || !part_panels) {
            full_panels += tail != 0;
            tail = 0;
        }
    }
    std::size_t full() const { return std::min(images, full_panels * kPanelImages); }
    std::pair<std::size_t, std::size_t> span(std::size_t i) const {
        return i < full() ? std::pair(i, full()) : std::pair(std::size_t{0}, i + 1);
    }
};

}  // namespace memcore::tiled_l2
