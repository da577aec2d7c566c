// A search for every row of a corpus within a given ssd of given points, by sketches of two resolutions; and
// the ssd of listed pairs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "panels/contract.hpp"

namespace memcore::sketches {

// Contiguous rows of `width` bytes.
struct Rows {
    const std::uint8_t* data;
    std::size_t count, width;
    const std::uint8_t* row(std::size_t i) const { return data + i * width; }
};

// Sketches of one resolution: of the corpus and of the points in groups, group g having the centre row g and
// the points [offsets[g], offsets[g + 1]). centre_limits[g] must be so large that no corpus row within
// limits[p] of a point p of the group exceeds it: the search compares a group's points only with rows that
// are within the limit of the centre.
struct Level {
    Rows centres, points, corpus;
    const std::uint32_t* centre_limits;
    const std::uint32_t* limits;
};

struct Search {
    Level coarse, fine;  // of the same groups, points and corpus rows
    const std::int64_t* offsets;
};

struct Hit {
    std::int64_t row;
    std::uint32_t point, ssd;  // of the fine sketches
};

// All (point, row) within the point's limits at both levels, ordered by blocks of rows, then group, row and
// point. False, with `hits` cut short, where more than `max_hits` were found: search fewer rows at once.
bool range_search(const panels::Kernels& kernels, const Search& search, std::size_t max_hits,
                  std::vector<Hit>& hits, int threads);

// out[p] = the largest ssd of the `tiles` tiles, tile_bytes long and one after another, of rows left[i[p]]
// and right[j[p]].
void pair_ssd(const panels::Kernels& kernels, const Rows& left, const Rows& right, std::size_t tiles,
              const std::int64_t* i, const std::int64_t* j, std::size_t pairs, std::uint64_t* out,
              int threads);

}  // namespace memcore::sketches
