// What every instruction set computes from the bytes of images, in exact integers: for the tiled l2, for
// nearest neighbours and for the search over sketches.
//
// For two tiles x, y of K bytes: ssd = sum (x_k - y_k)^2 = |x|^2 + |y|^2 - 2 x.y. All terms are taken modulo
// 2^32, where the sum is exact as long as ssd itself fits: ssd <= K * 255^2 <= 2^32 - 1 for K <= 66,051.
// Longer tiles are cut into segments of at most that size and their ssd are added in 64 bits. No instruction
// here may saturate.
//
// Products are taken on panels. A panel holds the same bytes of 16 images, interleaved: step s of a panel is
// 64 bytes, and its lane i (4 bytes) belongs to image i of the panel. A lane holds `step_bytes` consecutive
// bytes of the image, as uint8 where step_bytes is 4 and as uint16 where it is 2 (AVX2 multiplies int16). So
// one vector load gives 16 images as columns, and one broadcast of a lane gives one image as a row: the same
// panel serves on both sides. Matrix units need another layout for their rows: where `separate_row_layout` is
// set, a panel has a second form, whose block b contains bytes [64 b, 64 b + 64) of each image in turn, 1,024
// bytes in all. In both forms a block is 1,024 bytes and a panel is a whole number of blocks, zero where an
// image has no bytes.
//
// `dot` computes c[i][j] = sum x_ik * (y_jk - bias), row i from panel a and column j from panel b: VNNI
// multiplies unsigned by signed bytes, so its columns are shifted by 128; bias is 0 elsewhere. Then
//     ssd = (|x|^2 - 2 * bias * sum x) + |y|^2 - 2 c  (mod 2^32).
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace memcore::panels {

inline constexpr int kPanelImages = 16;
inline constexpr size_t kPanelStep = 64;                         // bytes of a panel's step
inline constexpr size_t kMaxBytes32 = UINT32_MAX / (255 * 255);  // 66,051
inline constexpr size_t kPackBlock = 64;                         // bytes of each image in a block of a panel

// float32 tiles: elements are added up in chunks of kFloatChunk. Within a chunk, element e goes to lane e %
// 16 of 16 float32 sums, in ascending order, each term being (x - y) * (x - y) rounded after each operation
// (no fused multiply-add). The 16 lanes are added as a fixed tree: i + (i + 8), i + (i + 4), i + (i + 2), i +
// (i + 1). Chunk sums are added in float64, in ascending order. So the result does not depend on the
// instruction set or on the number of threads.
inline constexpr int kFloatLanes = 16;
inline constexpr size_t kFloatChunk = 2048;

struct Kernels {
    size_t step_bytes;         // image bytes in a lane of a panel's step: 4 or 2
    int row_panels;            // panels of rows that one call of `dot` should take at least
    int column_panels;         // panels of columns likewise, so that the rows are read less often
    bool separate_row_layout;  // whether rows have a second form
    size_t chunk_bytes;        // of a tile, packed and multiplied at once
    size_t panel_bytes;  // of panels, in both forms, that a worker should pack at once: what stays in a cache
    uint32_t bias;
    // Rough times of 1,024 products in `dot` and of 1,024 bytes in `pair_ssd` from a cache, in nanoseconds.
    // They choose between ways to the same answer, never the answer.
    float dot_ns, pair_ns;

    // A thread calls these before and after its calls of `dot`; nullptr where there is nothing to do.
    void (*enter)();
    void (*leave)();

    // Packs `bytes` bytes of 16 rows into ceil(bytes / kPackBlock) whole blocks; adds each row's sum and sum
    // of squares (mod 2^32). Rows start 64-byte aligned, row_stride is a multiple of 64, and rows are zero
    // from `bytes` to the next multiple of 64. Without separate_row_layout, `row_layout` is nullptr; with it,
    // either form may be nullptr.
    void (*pack)(const uint8_t* rows, size_t row_stride, size_t bytes, uint8_t* panel, uint8_t* row_layout,
                 uint32_t* sums, uint32_t* squares);

    // c[i * c_stride + j] = or, with `add`, += products of the first `rows` rows (a multiple of 4) of panels
    // a_stride bytes apart with all columns of `panels` panels, b_stride bytes apart. With
    // separate_row_layout, a points at that form and whole panels of rows are written.
    void (*dot)(const uint8_t* a, size_t a_stride, int rows, const uint8_t* b, size_t b_stride, int panels,
                size_t steps, uint32_t* c, size_t c_stride, bool add);

    // out[j] = max(out[j], row + columns[j] - 2 c[j]) for j < n.
    void (*max_ssd)(const uint32_t* c, uint32_t row, const uint32_t* columns, size_t n, uint32_t* out);

    // Writes (ssd, j) of every j < n with ssd <= limit, ascending in j, and returns how many. Both buffers
    // have n elements.
    size_t (*select_ssd)(const uint32_t* c, uint32_t row, const uint32_t* columns, size_t n, uint32_t limit,
                         uint32_t* ssd, uint32_t* index);

    // Returns the ssd of `lines` lines of `bytes` bytes of two images in place, for pairs that are checked
    // one by one; lines * bytes <= kMaxBytes32.
    uint32_t (*pair_ssd)(const uint8_t* x, ptrdiff_t x_stride, const uint8_t* y, ptrdiff_t y_stride,
                         size_t lines, size_t bytes);

    // sums[r] = float32 sum of (x - y_r)^2 over n <= kFloatChunk elements, for `rows` rows y_r. n is a
    // multiple of 16.
    void (*float_ssd)(const float* x, const float* y, size_t y_stride, size_t rows, size_t n, float* sums);

    // Runs multiply-adds on registers (plain C++: on the first-level cache) and returns how many byte
    // products were made: the ceiling of `dot`.
    uint64_t (*peak_products)(uint64_t iterations);
    // Reads the bytes at full width. The result only keeps the compiler from removing the reads.
    uint64_t (*read_bytes)(const uint8_t* data, size_t bytes);
};

extern const Kernels kernels_scalar;
#define MEMCORE_ISA(name, panels_table, graph_table, flags) extern const Kernels kernels_##panels_table;
#include "instruction_sets.def"

}  // namespace memcore::panels
