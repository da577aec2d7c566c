// Bounds of the tiled l2 from block sums, and the kernels that compute them. They decide most pairs;
// verify.cpp decides the others in integers, by the kernels of panels/contract.hpp.
//
// A tile x of K bytes is cut into n blocks (of one channel each) with m_b bytes and sums S_b. With f_b = S_b
// / sqrt(m_b), the vector f is the orthogonal projection of x on images that are constant in each block, and
// r = sqrt(|x|^2 - |f|^2) is the norm of what is left. So for two tiles, with D^2 = ssd(x, y):
//     |f_x - f_y|^2 + (r_x - r_y)^2  <=  D^2  <=  |f_x - f_y|^2 + (r_x + r_y)^2
// (Pythagoras, then the triangle inequality for the two residuals; the left side without r is
// Cauchy-Schwarz).
//
// Rounding. Let u = 2^-24, R = 255 sqrt(K) >= |x|. S is an exact integer; f is computed in float32 from it
// with a relative error below 3u, so its error vector is at most 3uR long. r^2 is computed in float64 with an
// error of at most (n + 4) 2^-52 R^2, so r is off by at most sqrt((n + 4) 2^-52) R, and by uR after rounding
// to float32. Together the vector (f, r) of an image is off by at most
//     e = (4u + sqrt((n + 4) 2^-52)) R,
// and the distance of two such vectors by 2e. The float32 sum of n + 1 squares of differences, in any order,
// fused or not, has a relative error of at most g = (n + 8) u. Hence, with t = sqrt(ssd_max): a computed sum
// above (t + 2e)^2 (1 + g)^2 proves D^2 > ssd_max, and one of the right side's terms of at most (t - 2e)^2 (1
// - g)^2 proves D^2 <= ssd_max. Both limits are computed with doubled e and g. Where an edge's ssd is
// requested, it comes from integers: upper bounds serve requests for edges alone.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace memcore::graph {

inline constexpr size_t kLanes = 16;      // tiles side by side; grids are padded with tiles of zeros
inline constexpr size_t kMaxLines = 257;  // 257 * 255 fits uint16
inline constexpr size_t kMaxCallBytes =
    65536;  // lines * line_bytes of one call of column_sums: sums of squares fit uint32
inline constexpr size_t kMaxTileBytes = 1 << 24;  // the sum of a tile fits uint32

struct Kernels {
    // For each of `tiles` neighbouring tiles: columns[t * column_stride + k] = sum over `lines` lines of byte
    // k (k < line_bytes, zero up to column_stride), and squares[t] = sum of the squares of all of them. Lines
    // are line_stride apart, tiles line_bytes. column_stride is line_bytes rounded up to 64. Where `copy` is
    // not nullptr, the lines are also copied there, at a stride of copy_stride, possibly past the cache: the
    // caller orders that before other threads read it. Then copy, copy_stride and line_bytes are multiples
    // of 64.
    void (*column_sums)(const uint8_t* data, ptrdiff_t line_stride, size_t lines, size_t tiles,
                        size_t line_bytes, uint16_t* columns, size_t column_stride, uint32_t* squares,
                        uint8_t* copy, size_t copy_stride);

    // columns[i] = sum of columns[i + k * channels], k < width, for width a power of two and each i that is a
    // multiple of width * channels; others are left undefined. columns is 64-byte aligned, and `count` (a
    // tile's line) is rounded up to 32 where that helps. Reads up to width * channels elements beyond that.
    // Sums must fit uint16.
    void (*fold)(uint16_t* columns, size_t count, size_t channels, size_t width);

    // features[row][lane] = sums[row][lane] * scale[row] with scale = 1 / sqrt(bytes of the block), and
    // energy[lane] += sums^2 * inverse[row] with inverse = 1 / bytes of the block, in float64.
    void (*normalise)(const uint32_t* sums, const float* scale, const double* inverse, size_t rows,
                      float* features, double* energy);

    // Vectors are `groups` x `rows` x kLanes floats, the last row of a group being the residual. Writes every
    // j in [begin, end) whose sum of squares against x exceeds `limit` in no lane, ascending, and returns how
    // many. all + j * stride is image j.
    size_t (*survivors)(const float* x, const float* all, size_t stride, size_t begin, size_t end,
                        size_t groups, size_t rows, float limit, uint32_t* kept);

    // As `survivors`, for a list of pairs: writes 1 to keep[p] where pair p survives, else 0.
    void (*screen)(const float* all, size_t stride, size_t groups, size_t rows, float limit,
                   const uint32_t* pairs, size_t count, uint8_t* keep);

    // Writes 1 to sure[p] where in every lane the sum of squares of differences, those of the residuals
    // replaced by the square of their sum, is at most `limit`; else 0.
    void (*certain)(const float* all, size_t stride, size_t groups, size_t rows, float limit,
                    const uint32_t* pairs, size_t count, uint8_t* sure);

    // The lane, counted over all groups, where |f_x - f_y|^2 + r_x^2 + r_y^2 is largest: the ssd that
    // unrelated residuals would give. The tile to compare first.
    size_t (*likely_largest)(const float* x, const float* y, size_t groups, size_t rows);
};

extern const Kernels kernels_scalar;
#define MEMCORE_ISA(name, panels_table, graph_table, flags) extern const Kernels kernels_##graph_table;
#include "instruction_sets.def"

}  // namespace memcore::graph
