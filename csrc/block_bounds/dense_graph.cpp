#include "block_bounds/dense_graph.hpp"

#include <algorithm>

#include "tiled_l2/tiled_l2.hpp"

namespace memcore::block_bounds {
namespace {

using tiled_l2::Grid;
using tiled_l2::Images;
using tiled_l2::Kernels;

constexpr std::size_t kBlockImages = 1056;  // one block of answers is 4.5 MB however many images there are

Images part(const Images& images, std::size_t first, std::size_t count) {
    Images view = images;
    view.batches = 1;
    view.count = count;
    if (images.selection != nullptr) {
        view.selection = images.selection + first;
    } else {
        view.data = images.image(0, first);
    }
    return view;
}

template <class Sum>
std::vector<Edge> graph(const Kernels& kernels, const Images& images, const Grid& grid, std::uint64_t ssd_max,
                        int threads) {
    std::vector<Edge> edges;
    const std::size_t n = images.count, block = std::min(n, kBlockImages);
    std::vector<Sum> ssd(block * block);
    for (std::size_t row = 0; row < n; row += block) {
        const std::size_t rows = std::min(block, n - row);
        for (std::size_t column = row; column < n; column += block) {
            const std::size_t columns = std::min(block, n - column);
            const Images other = part(images, column, columns);
            tiled_l2::pairwise<Sum>(kernels, part(images, row, rows), row == column ? nullptr : &other, grid,
                                    {ssd.data(), rows, columns}, threads);
            for (std::size_t i = 0; i < rows; ++i) {
                for (std::size_t j = row == column ? i + 1 : 0; j < columns; ++j) {
                    const Sum value = ssd[i * columns + j];
                    if (value > ssd_max) continue;
                    edges.push_back(
                        {static_cast<std::int32_t>(row + i), static_cast<std::int32_t>(column + j), value});
                }
            }
        }
    }
    if (n > block) std::sort(edges.begin(), edges.end());
    return edges;
}

}  // namespace

std::vector<Edge> dense_graph(const Kernels& kernels, const Images& images, const Grid& grid,
                              std::uint64_t ssd_max, int threads) {
    if (images.count == 0) return {};
    const bool narrow = grid.tile_bytes() <= tiled_l2::kMaxBytes32;
    return narrow ? graph<std::uint32_t>(kernels, images, grid, ssd_max, threads)
                  : graph<std::uint64_t>(kernels, images, grid, ssd_max, threads);
}

}  // namespace memcore::block_bounds
