#include "graph/dense_graph.hpp"

#include <algorithm>
#include <functional>
#include <memory>

#include "runtime/long_sort.hpp"
#include "tiled_l2/tiled_l2.hpp"

namespace memcore::graph {
namespace {

using panels::Grid;
using panels::Images;

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

// The pairs of a block: images [row, row + rows) with [column, column + columns), or the first with
// themselves.
struct Block {
    std::size_t row, rows, column, columns;
    bool triangle;
};

// Blocks that together contain every pair i < j with j >= since.
std::vector<Block> blocks(std::size_t n, std::size_t since) {
    std::vector<Block> all;
    const auto cut = [&](std::size_t first, std::size_t end, auto&& each) {
        for (std::size_t at = first; at < end; at += kBlockImages) each(at, std::min(kBlockImages, end - at));
    };
    since = std::min(since, n);
    cut(0, since, [&](std::size_t row, std::size_t rows) {
        cut(since, n, [&](std::size_t column, std::size_t columns) {
            all.push_back({row, rows, column, columns, false});
        });
    });
    cut(since, n, [&](std::size_t row, std::size_t rows) {
        cut(row, n, [&](std::size_t column, std::size_t columns) {
            all.push_back({row, rows, column, columns, row == column});
        });
    });
    return all;
}

// Calls visit(i, row, first column) for each row of a block's answers.
template <class Sum, class Visit>
void for_each_row(const Block& b, const Sum* ssd, Visit&& visit) {
    for (std::size_t i = 0; i < b.rows; ++i) visit(i, ssd + i * b.columns, b.triangle ? i + 1 : 0);
}

template <class Sum>
std::vector<Edge> edges_within(const panels::Kernels& kernels, const Images& images, const Grid& grid,
                               std::uint64_t ssd_max, std::size_t since, int threads) {
    std::vector<Edge> edges;
    const std::vector<Block> all = blocks(images.count, since);
    std::size_t largest = 0;
    for (const Block& b : all) largest = std::max(largest, b.rows * b.columns);
    const std::unique_ptr<Sum[]> ssd = std::make_unique_for_overwrite<Sum[]>(largest);
    for (const Block& b : all) {
        const Images other = part(images, b.column, b.columns);
        tiled_l2::pairwise<Sum>(kernels, part(images, b.row, b.rows), b.triangle ? nullptr : &other, grid,
                                {ssd.get(), b.rows, b.columns}, threads, false);
        // Counted first: nearly all pairs may be edges, which a growing vector would copy again and again.
        std::size_t found = 0;
        for_each_row(b, ssd.get(), [&](std::size_t, const Sum* row, std::size_t from) {
            for (std::size_t j = from; j < b.columns; ++j) found += row[j] <= ssd_max;
        });
        edges.reserve(edges.size() + found);
        for_each_row(b, ssd.get(), [&](std::size_t i, const Sum* row, std::size_t from) {
            // Each column is written, then kept or written over: which pairs are edges, no processor
            // foretells.
            std::uint32_t columns[kBlockImages + 1];
            std::size_t count = 0;
            for (std::size_t j = from; j < b.columns; ++j) {
                columns[count] = static_cast<std::uint32_t>(j);
                count += row[j] <= ssd_max;
            }
            for (std::size_t k = 0; k < count; ++k) {
                edges.push_back({static_cast<std::int32_t>(b.row + i),
                                 static_cast<std::int32_t>(b.column + columns[k]), row[columns[k]]});
            }
        });
    }
    if (all.size() > 1) long_sort(edges.begin(), edges.end(), std::less<>());
    return edges;
}

}  // namespace

std::vector<Edge> dense_graph(const panels::Kernels& kernels, const Images& images, const Grid& grid,
                              std::uint64_t ssd_max, std::size_t since, int threads) {
    const bool narrow = grid.tile_bytes() <= panels::kMaxBytes32;
    return narrow ? edges_within<std::uint32_t>(kernels, images, grid, ssd_max, since, threads)
                  : edges_within<std::uint64_t>(kernels, images, grid, ssd_max, since, threads);
}

}  // namespace memcore::graph
