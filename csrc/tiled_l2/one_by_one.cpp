#include "tiled_l2/one_by_one.hpp"

#include <algorithm>

#include "runtime/interrupt.hpp"
#include "runtime/thread_pool.hpp"

namespace memcore::tiled_l2 {

template <class Sum>
void pairs_one_by_one(const Kernels& kernels, const Images& images, const Grid& grid, const Matrix<Sum>& out,
                      int threads) {
    const std::size_t n = images.count;
    parallel_for(images.batches, threads, [&](std::size_t batch, std::size_t) {
        Images set = images;
        set.data += static_cast<std::ptrdiff_t>(batch) * images.batch_stride;
        for (std::size_t i = 0; i < n; ++i) {
            out.row(batch, i)[i] = 0;
            for (std::size_t j = i + 1; j < n; ++j) {
                check_interrupt();
                std::uint64_t largest = 0;
                for (std::size_t tile = 0; tile < grid.tile_rows * grid.tile_columns; ++tile) {
                    largest = std::max(largest, tile_ssd(kernels, set, i, j, grid, tile / grid.tile_columns,
                                                         tile % grid.tile_columns, UINT64_MAX));
                }
                out.row(batch, i)[j] = out.row(batch, j)[i] = static_cast<Sum>(largest);
            }
        }
    });
}

template void pairs_one_by_one<std::uint32_t>(const Kernels&, const Images&, const Grid&,
                                              const Matrix<std::uint32_t>&, int);
template void pairs_one_by_one<std::uint64_t>(const Kernels&, const Images&, const Grid&,
                                              const Matrix<std::uint64_t>&, int);

std::uint64_t tile_ssd(const Kernels& kernels, const Images& images, std::size_t i, std::size_t j,
                       const Grid& grid, std::size_t tile_row, std::size_t tile_column, std::uint64_t limit) {
    constexpr std::size_t kBytesBetweenChecks = 8192;
    const std::uint8_t* x = images.image(0, i);
    const std::uint8_t* y = images.image(0, j);
    const std::size_t bytes = std::min(grid.line_bytes, kBytesBetweenChecks);
    std::uint64_t sum = 0;
    for (std::size_t line = 0; line < grid.lines();) {
        const std::size_t left_in_plane = grid.tile_height - line % grid.tile_height;
        const std::size_t lines =
            std::min(left_in_plane, std::max<std::size_t>(1, kBytesBetweenChecks / bytes));
        const std::uint8_t* a = tile_line(images, grid, x, tile_row, tile_column, line);
        const std::uint8_t* b = tile_line(images, grid, y, tile_row, tile_column, line);
        for (std::size_t k = 0; k < grid.line_bytes; k += bytes) {
            sum += kernels.pair_ssd(a + k, images.row_stride, b + k, images.row_stride, lines,
                                    std::min(bytes, grid.line_bytes - k));
        }
        if (sum > limit) return sum;
        line += lines;
    }
    return sum;
}

}  // namespace memcore::tiled_l2
