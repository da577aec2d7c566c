// Sketches of images, and the search over them that never misses.
//
// An image x of d bytes is cut into rows x columns blocks a channel, all of m pixels (what the grid leaves
// over at the right and the bottom belongs to no block). With the block means mu_b = S_b / m and the residual
// r^2 = |x|^2 - m |mu|^2, the projection on images that are constant in each block gives, for two images,
//     D^2 = ssd(x, y)  >=  m |mu_x - mu_y|^2 + (r_x - r_y)^2  =  m (|mu_x - mu_y|^2 + (rho_x - rho_y)^2)
// with rho = r / sqrt(m). The vector v = (mu, s, s, s, s), s = min(rho / 2, 255), has |v_x - v_y|^2 <= D^2 /
// m, since min(., 255) never widens a difference. The sketch q is v rounded to whole numbers in [0, 255]:
// each of its n = blocks + 4 numbers is off by at most 1/2, so q is off by at most sqrt(n) / 2, and
//     |q_x - q_y|  <=  D / sqrt(m) + sqrt(n).
// So D^2 <= ssd_max proves ssd(q_x, q_y) <= (sqrt(ssd_max / m) + sqrt(n))^2, whose floor is the integer that
// the search compares with. Every number here is an exact integer; rounding can lose no image.
#pragma once

#include <cstddef>
#include <cstdint>

namespace memcore::sketches {

inline constexpr std::size_t kResidualCopies = 4;  // of s: four halves squared make one whole
inline constexpr std::size_t kMaxNumbers = 4096;   // of a sketch: what the packed panels are sized for

}  // namespace memcore::sketches
