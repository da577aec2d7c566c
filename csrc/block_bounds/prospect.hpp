// Whether bounds will pay, from a few of the images.
#pragma once

#include <cstddef>
#include "block_bounds/graph.hpp"
#include "block_bounds/pyramid.hpp"
#include "runtime/isa.hpp"
#include "tiled_l2/images.hpp"

namespace memcore::block_bounds {

// Whether the features of some images, taken before those of all, are likely to save more than they cost: not
// where images are so large or so many that features cost next to nothing.
bool worth_sampling(const Isa& isa, const Shape& shape, std::size_t images);

// Whether bounds and what they leave are likely to take less time than all pairs at once, from the pairs of
// some images. `features` are those of all `count` images; where they are nullptr, those of some are taken,
// and the time to take all counts too. Without `images`, which may be far away, nothing is known of what
// pairs that are left cost, and the least is assumed. It depends on images and instruction set alone.
bool bounds_pay(const Isa& isa, const tiled_l2::Images* images, std::size_t count, const Shape& shape,
                const Pyramid* features, const Request& request);

}  // namespace memcore::block_bounds
