// AMX: tdpbuud multiplies 16 rows of 64 unsigned bytes with 16 columns of 64 and adds the 256 sums of
// products to a tile of uint32, without saturation. Everything else is AVX-512 with VNNI, which every such
// machine has.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include "panels/contract.hpp"

namespace memcore::panels {
namespace {

#include "panels/avx512.inl"
#include "panels/common.inl"

constexpr size_t kStepBytes = 4;
constexpr size_t kBlock =
    kPanelImages * kPackBlock;  // bytes of a panel's block, which one tile register holds

// The instructions are written out: GCC 12 drops the stores to the memory that its _tile_loadconfig reads,
// and its other intrinsics take register names as text, which no template can give them.
template <int TILE>
inline __attribute__((always_inline)) void load_tile(const void* from, size_t stride) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(TILE) : "memory");
}

template <int TILE>
inline __attribute__((always_inline)) void store_tile(void* to, size_t stride) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(TILE) : "memory");
}

template <int TILE>
inline __attribute__((always_inline)) void clear_tile() {
    __asm__ volatile("tilezero %%tmm%c0" : : "i"(TILE));
}

template <int SUM, int ROWS, int COLUMNS>
inline __attribute__((always_inline)) void multiply() {
    __asm__ volatile("tdpbuud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(SUM), "i"(ROWS), "i"(COLUMNS));
}

struct alignas(64) TileConfig {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

void enter() {
    TileConfig config = {};
    config.palette = 1;
    for (int t = 0; t < 8; ++t) {
        config.row_bytes[t] = kPackBlock;
        config.rows[t] = kPanelImages;
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(config));
}

// Tiles that are in use are 8 KB more to save at each switch to another thread.
void leave() { __asm__ volatile("tilerelease" : : : "memory"); }

void pack(const uint8_t* rows, size_t row_stride, size_t bytes, uint8_t* panel, uint8_t* row_layout,
          uint32_t* sums, uint32_t* squares) {
    pack_forms(rows, row_stride, bytes, panel, row_layout, sums, squares);
}

// Two panels of rows with two of columns: four sums, and each tile that is loaded serves two products, so
// that loads take half the time of products. One of either is for what is left.
template <int ROWS, int COLUMNS>
__attribute__((noinline)) void micro_kernel(const uint8_t* a, size_t a_stride, const uint8_t* b,
                                            size_t b_stride, size_t blocks, uint32_t* c, size_t c_stride,
                                            bool add) {
    const size_t line = c_stride * sizeof(uint32_t);
    uint32_t* const below = c + kPanelImages * c_stride;
    if (add) {
        load_tile<0>(c, line);
        if constexpr (COLUMNS == 2) load_tile<1>(c + kPanelImages, line);
        if constexpr (ROWS == 2) load_tile<2>(below, line);
        if constexpr (ROWS == 2 && COLUMNS == 2) load_tile<3>(below + kPanelImages, line);
    } else {
        clear_tile<0>();
        if constexpr (COLUMNS == 2) clear_tile<1>();
        if constexpr (ROWS == 2) clear_tile<2>();
        if constexpr (ROWS == 2 && COLUMNS == 2) clear_tile<3>();
    }
    for (size_t k = 0; k < blocks * kBlock; k += kBlock) {
        load_tile<4>(a + k, kPackBlock);
        load_tile<6>(b + k, kPackBlock);
        multiply<0, 4, 6>();
        if constexpr (COLUMNS == 2) {
            load_tile<7>(b + b_stride + k, kPackBlock);
            multiply<1, 4, 7>();
        }
        if constexpr (ROWS == 2) {
            load_tile<5>(a + a_stride + k, kPackBlock);
            multiply<2, 5, 6>();
        }
        if constexpr (ROWS == 2 && COLUMNS == 2) multiply<3, 5, 7>();
    }
    store_tile<0>(c, line);
    if constexpr (COLUMNS == 2) store_tile<1>(c + kPanelImages, line);
    if constexpr (ROWS == 2) store_tile<2>(below, line);
    if constexpr (ROWS == 2 && COLUMNS == 2) store_tile<3>(below + kPanelImages, line);
}

void dot(const uint8_t* a, size_t a_stride, int rows, const uint8_t* b, size_t b_stride, int panels,
         size_t steps, uint32_t* c, size_t c_stride, bool add) {
    const size_t blocks = (steps * kStepBytes + kPackBlock - 1) / kPackBlock;
    const int row_panels = (rows + kPanelImages - 1) / kPanelImages;
    for (int p = 0; p < panels; p += 2) {
        const uint8_t* columns = b + static_cast<size_t>(p) * b_stride;
        const bool wide = p + 1 < panels;
        for (int r = 0; r < row_panels; r += 2) {
            const uint8_t* first = a + static_cast<size_t>(r) * a_stride;
            uint32_t* out = c + static_cast<size_t>(r * kPanelImages) * c_stride + p * kPanelImages;
            const auto kernel = r + 1 < row_panels ? (wide ? micro_kernel<2, 2> : micro_kernel<2, 1>)
                                                   : (wide ? micro_kernel<1, 2> : micro_kernel<1, 1>);
            kernel(first, a_stride, columns, b_stride, blocks, out, c_stride, add);
        }
    }
}

uint64_t peak_products(uint64_t iterations) {
    enter();
    for (uint64_t n = 0; n < iterations; ++n) {
        multiply<0, 4, 6>();
        multiply<1, 4, 7>();
        multiply<2, 5, 6>();
        multiply<3, 5, 7>();
    }
    leave();
    return iterations * 4 * kPanelImages * kPanelImages * kPackBlock;
}

}  // namespace

constinit const Kernels kernels_amxint8{
    .step_bytes = kStepBytes,
    .row_panels = 2,
    .column_panels = 2,
    .separate_row_layout = true,
    .chunk_bytes = 768,
    .panel_bytes = 1UL << 20,
    .bias = 0,
    .dot_ns = 1.2F,
    .pair_ns = 40.0F,
    .enter = enter,
    .leave = leave,
    .pack = pack,
    .dot = dot,
    .max_ssd = max_ssd,
    .select_ssd = select_ssd,
    .pair_ssd = pair_ssd,
    .float_ssd = float_ssd,
    .peak_products = peak_products,
    .read_bytes = read_bytes,
};

}  // namespace memcore::panels
