#include "tiled_l2/tiled_l2.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "panels/pack.hpp"
#include "panels/products.hpp"
#include "runtime/aligned.hpp"
#include "runtime/interrupt.hpp"
#include "runtime/thread_pool.hpp"
#include "tiled_l2/block.hpp"
#include "tiled_l2/one_by_one.hpp"

namespace memcore::tiled_l2 {
namespace {

using panels::Chunk;
using panels::kMaxBytes32;
using panels::Panels;
using panels::Products;
using panels::Side;

constexpr std::size_t kBlockImages = 528;   // on each side of a block of pairs: a multiple of 3 panels
constexpr std::size_t kUnitsPerThread = 4;  // enough to even out threads of unequal speed
constexpr std::size_t kDirectImages = 4;    // up to this number, pair by pair
constexpr std::size_t kRowsBetweenChecks = 256;
constexpr std::size_t kFusedPanels = 4;  // of columns, at least, between two updates of the answer

// Tiles [first, first + count) of a row of tiles.
struct TileRun {
    std::size_t row, first, count;
};

// The tiles of a block that one worker computes: runs [first_run, first_run + runs).
struct Unit {
    std::size_t batch, block, first_run, runs;
};

// The buffers of one worker, allocated with its first unit.
struct Workspace {
    Panels rows, columns;
    AlignedArray<std::uint32_t> products;  // tiles x rows x columns, padded to panels; or of one row panel
    AlignedArray<std::uint64_t>
        wide;  // ssd of the segments so far; only where one segment does not hold a tile
};

template <class Sum>
class Dense {
  public:
    Dense(const Kernels& kernels, const Images& a, const Images* other, const Grid& grid, Matrix<Sum> out,
          int threads)
        : kernels_(kernels),
          a_(a),
          b_(other == nullptr ? a : *other),
          symmetric_(other == nullptr),
          grid_(grid),
          out_(out),
          threads_(threads),
          chunks_(make_chunks(grid, kernels.chunk_bytes)),
          fused_(sizeof(Sum) == sizeof(std::uint32_t) && chunks_.size() == 1) {
        for (const Chunk& chunk : chunks_) chunk_bytes_ = std::max(chunk_bytes_, chunk.size());
        plan();
    }

    void run(bool mirrored) {
        for (std::size_t b = 0; b < a_.batches; ++b) {
            for (std::size_t row = 0; row < out_.rows; ++row) {
                if (row % kRowsBetweenChecks == 0) check_interrupt();
                std::fill_n(out_.row(b, row), out_.columns, Sum{0});
            }
        }
        std::vector<std::unique_ptr<Workspace>> spaces(worker_count(units_.size(), threads_));
        parallel_for(units_.size(), threads_, [&](std::size_t unit, std::size_t worker) {
            if (!spaces[worker]) spaces[worker] = make_workspace();
            run_unit(units_[unit], *spaces[worker]);
        });
        if (!symmetric_) return;
        parallel_for(a_.batches * blocks_.size(), blocks_.size() == 1 ? 1 : threads_,
                     [&](std::size_t n, std::size_t) {
                         mirror(n / blocks_.size(), blocks_[n % blocks_.size()], mirrored);
                     });
    }

  private:
    // Units are a block of pairs and some neighbouring tiles, which share their image rows: wide units read
    // memory in order; narrow ones and small blocks give many threads enough to do. Where a tile is one chunk
    // its products go straight into the answer (`fused`), so a unit owns its block: it takes all tiles.
    void plan() {
        const std::size_t workers = worker_count(SIZE_MAX, threads_);
        const std::size_t wanted = workers == 1 ? 1 : workers * kUnitsPerThread;
        const std::size_t side = std::max(out_.rows, out_.columns);
        std::size_t block = kBlockImages;
        tiles_ = grid_.tile_columns;
        const auto units = [&] {
            const std::size_t across = (out_.rows + block - 1) / block,
                              down = (out_.columns + block - 1) / block;
            const std::size_t blocks = symmetric_ ? across * (across + 1) / 2 : across * down;
            const std::size_t runs = grid_.tile_rows * ((grid_.tile_columns + tiles_ - 1) / tiles_);
            return a_.batches * blocks * (fused_ ? 1 : runs);
        };
        const auto panel_bytes = [&] {
            return std::min(side, block) * chunk_bytes_ * tiles_ * (4 / kernels_.step_bytes) *
                   (symmetric_ && !kernels_.separate_row_layout ? 1 : 2);
        };
        while (tiles_ > 1 && ((!fused_ && units() < wanted) || panel_bytes() > kernels_.panel_bytes))
            tiles_ = (tiles_ + 1) / 2;
        while (block > 6 * kPanelImages && units() < wanted) block = round_up(block / 2, kPanelImages);

        for (std::size_t i = 0; i < out_.rows; i += block) {
            for (std::size_t j = symmetric_ ? i : 0; j < out_.columns; j += block) {
                blocks_.push_back({i, std::min(block, out_.rows - i), j, std::min(block, out_.columns - j),
                                   symmetric_ && i == j});
            }
        }
        for (const Block& b : blocks_) {
            block_rows_ = std::max(block_rows_, b.rows);
            block_columns_ = std::max(block_columns_, b.columns);
            has_rectangles_ |= !b.triangle;
        }
        for (std::size_t ty = 0; ty < grid_.tile_rows; ++ty) {
            for (std::size_t tx = 0; tx < grid_.tile_columns; tx += tiles_)
                runs_.push_back({ty, tx, std::min(tiles_, grid_.tile_columns - tx)});
        }
        const std::size_t together = fused_ ? runs_.size() : 1;
        for (std::size_t b = 0; b < a_.batches; ++b) {
            for (std::size_t k = 0; k < blocks_.size(); ++k) {
                for (std::size_t r = 0; r < runs_.size(); r += together)
                    units_.push_back({b, k, r, together});
            }
        }
    }

    std::unique_ptr<Workspace> make_workspace() const {
        auto space = std::make_unique<Workspace>();
        space->rows =
            Panels(kernels_, symmetric_ ? Side::kBoth : Side::kRows, block_rows_, tiles_, chunk_bytes_);
        if (has_rectangles_)
            space->columns = Panels(kernels_, Side::kColumns, block_columns_, tiles_, chunk_bytes_);
        const std::size_t elements = fused_ ? row_step() * kPanelImages * fused_panels() * kPanelImages
                                            : tiles_ * round_up(block_rows_, kPanelImages) * product_stride();
        space->products = AlignedArray<std::uint32_t>(elements);
        if (grid_.tile_bytes() > kMaxBytes32) space->wide = AlignedArray<std::uint64_t>(elements);
        return space;
    }

    void run_unit(const Unit& unit, Workspace& space) {
        const Products products(kernels_);
        for (std::size_t r = unit.first_run; r < unit.first_run + unit.runs; ++r) {
            check_interrupt();
            if constexpr (sizeof(Sum) == sizeof(std::uint32_t)) {
                if (fused_) {
                    run_fused(unit, runs_[r], space);
                    continue;
                }
            }
            run_chunks(unit, runs_[r], space);
        }
    }

    Panels& select_columns(const Block& block, Workspace& space) const {
        return block.triangle ? space.rows : space.columns;
    }

    void pack(const Unit& unit, const TileRun& run, const Chunk& chunk, Workspace& space) const {
        const Block& block = blocks_[unit.block];
        space.rows.pack(a_, grid_, unit.batch, block.row, block.rows, run.row, run.first, run.count, chunk);
        if (block.triangle) return;
        space.columns.pack(b_, grid_, unit.batch, block.column, block.columns, run.row, run.first, run.count,
                           chunk);
    }

    Triangle make_triangle(const Block& block) const { return {block.rows, kernels_.row_panels == 1}; }

    // Calls visit(first row panel, their rows, first column panel, last) for all products of a block, `width`
    // panels of columns at a time, so that they stay in the cache. On the scalar kernels a block takes half a
    // second, so that each panel looks for interrupts.
    template <class Visit>
    void for_each_product(const Block& block, std::size_t width, Visit&& visit) const {
        const auto rows_from = [&](std::size_t p) {
            return std::min(row_step() * kPanelImages, block.rows - p * kPanelImages);
        };
        if (!block.triangle) {
            const std::size_t row_panels = round_up(block.rows, kPanelImages) / kPanelImages;
            const std::size_t panels = round_up(block.columns, kPanelImages) / kPanelImages;
            for (std::size_t first = 0; first < panels; first += width) {
                for (std::size_t p = 0; p < row_panels; p += row_step()) {
                    check_interrupt();
                    visit(p, rows_from(p), first, std::min(first + width, panels));
                }
            }
            return;
        }
        const Triangle triangle = make_triangle(block);
        const std::size_t panels = triangle.full_panels;
        for (std::size_t first = 0; first < panels; first += width) {
            const std::size_t last = std::min(first + width, panels);
            for (std::size_t p = 0; p < last; p += row_step()) {
                check_interrupt();
                const std::size_t rows = std::min(rows_from(p), (last - p) * kPanelImages);
                visit(p, rows, std::max(first, p), last);
            }
            if (triangle.tail != 0) visit(panels, triangle.tail, first, last);
        }
        if (triangle.tail != 0) visit(panels, triangle.tail, panels, panels + 1);
    }

    // Tiles of one chunk: the products of a row panel go into the answer while they are in the cache.
    void run_fused(const Unit& unit, const TileRun& run, Workspace& space) const {
        const Block& block = blocks_[unit.block];
        const Panels& columns = select_columns(block, space);
        const Triangle triangle = make_triangle(block);
        space.rows.clear_sums();
        space.columns.clear_sums();
        pack(unit, run, chunks_.front(), space);
        for_each_product(
            block, fused_panels(), [&](std::size_t p, std::size_t rows, std::size_t first, std::size_t last) {
                const std::size_t stride = (last - first) * kPanelImages, begin = first * kPanelImages;
                std::uint32_t* products = space.products.data();
                for (std::size_t t = 0; t < run.count; ++t) {
                    kernels_.dot(space.rows.as_rows(t, p), space.rows.stride(),
                                 static_cast<int>(round_up(rows, 4)), columns.as_columns(t, first),
                                 columns.stride(), static_cast<int>(last - first), columns.steps(), products,
                                 stride, false);
                    for (std::size_t r = 0; r < rows; ++r) {
                        const std::size_t i = p * kPanelImages + r;
                        auto [from, to] =
                            block.triangle ? triangle.span(i) : std::pair(std::size_t{0}, block.columns);
                        from = std::max(from, begin);
                        to = std::min(to, begin + stride);
                        if (from >= to) continue;
                        kernels_.max_ssd(products + r * stride + (from - begin), row_term(space.rows, t, i),
                                         columns.squares(t) + from, to - from,
                                         out_.row(unit.batch, block.row + i) + block.column + from);
                    }
                }
            });
    }

    void run_chunks(const Unit& unit, const TileRun& run, Workspace& space) {
        const Block& block = blocks_[unit.block];
        Panels& columns = select_columns(block, space);
        clear_sums(space);
        std::size_t segment = 0;
        bool flushed = false;
        for (const Chunk& chunk : chunks_) {
            check_interrupt();
            if (segment + chunk.size() > kMaxBytes32) {
                add_segment(run, block, space, columns);
                clear_sums(space);
                segment = 0;
                flushed = true;
            }
            pack(unit, run, chunk, space);
            for (std::size_t t = 0; t < run.count; ++t) {
                for_each_product(block, static_cast<std::size_t>(kernels_.column_panels),
                                 [&](std::size_t p, std::size_t rows, std::size_t first, std::size_t last) {
                                     kernels_.dot(space.rows.as_rows(t, p), space.rows.stride(),
                                                  static_cast<int>(round_up(rows, 4)),
                                                  columns.as_columns(t, first), columns.stride(),
                                                  static_cast<int>(last - first), columns.steps(),
                                                  products(space, t, p * kPanelImages, first * kPanelImages),
                                                  product_stride(), segment != 0);
                                 });
            }
            segment += chunk.size();
        }
        if (flushed) add_segment(run, block, space, columns);
        merge(unit, run, block, space, columns, flushed);
    }

    // Enough columns that a row's way into the answer costs little; a multiple of what `dot` takes at once.
    std::size_t fused_panels() const {
        const std::size_t width = static_cast<std::size_t>(kernels_.column_panels);
        return round_up(kFusedPanels, width);
    }
    std::size_t row_step() const { return static_cast<std::size_t>(kernels_.row_panels); }
    std::uint32_t row_term(const Panels& rows, std::size_t tile, std::size_t i) const {
        return rows.squares(tile)[i] - 2 * kernels_.bias * rows.sums(tile)[i];
    }
    // One spare panel: rows with a stride of a power of two would share sets of the first-level cache.
    std::size_t product_stride() const { return round_up(block_columns_, kPanelImages) + kPanelImages; }
    std::uint32_t* products(Workspace& space, std::size_t tile, std::size_t i, std::size_t j) const {
        return space.products.data() + (tile * round_up(block_rows_, kPanelImages) + i) * product_stride() +
               j;
    }
    std::uint64_t* wide(Workspace& space, std::size_t tile, std::size_t i) const {
        return space.wide.data() + (tile * round_up(block_rows_, kPanelImages) + i) * product_stride();
    }
    void clear_sums(Workspace& space) const {
        space.rows.clear_sums();
        space.columns.clear_sums();
    }

    // Calls visit(tile, i, first column, number of columns, row term, column terms, products) for each
    // computed row.
    template <class Visit>
    void for_each_row(const TileRun& run, const Block& block, Workspace& space, const Panels& columns,
                      Visit&& visit) const {
        const Triangle triangle = make_triangle(block);
        for (std::size_t t = 0; t < run.count; ++t) {
            for (std::size_t i = 0; i < block.rows; ++i) {
                const auto [first, last] =
                    block.triangle ? triangle.span(i) : std::pair(std::size_t{0}, block.columns);
                visit(t, i, first, last - first, row_term(space.rows, t, i), columns.squares(t) + first,
                      products(space, t, i, first));
            }
        }
    }

    void add_segment(const TileRun& run, const Block& block, Workspace& space, const Panels& columns) const {
        for_each_row(run, block, space, columns,
                     [&](std::size_t t, std::size_t i, std::size_t first, std::size_t n, std::uint32_t row,
                         const std::uint32_t* column, const std::uint32_t* product) {
                         std::uint64_t* sum = wide(space, t, i) + first;
                         for (std::size_t j = 0; j < n; ++j)
                             sum[j] += std::uint32_t{row + column[j] - 2U * product[j]};
                     });
    }

    // Takes the maximum into the answer. Other workers may hold other tiles of the same block.
    void merge(const Unit& unit, const TileRun& run, const Block& block, Workspace& space,
               const Panels& columns, bool from_wide) {
        const std::lock_guard lock(merging_[(unit.batch * blocks_.size() + unit.block) % merging_.size()]);
        for_each_row(run, block, space, columns,
                     [&](std::size_t t, std::size_t i, std::size_t first, std::size_t n, std::uint32_t row,
                         const std::uint32_t* column, const std::uint32_t* product) {
                         Sum* out = out_.row(unit.batch, block.row + i) + block.column + first;
                         if constexpr (sizeof(Sum) == sizeof(std::uint32_t)) {
                             kernels_.max_ssd(product, row, column, n, out);
                         } else if (from_wide) {
                             const std::uint64_t* sum = wide(space, t, i) + first;
                             for (std::size_t j = 0; j < n; ++j) out[j] = std::max<Sum>(out[j], sum[j]);
                         } else {
                             for (std::size_t j = 0; j < n; ++j) {
                                 out[j] =
                                     std::max<Sum>(out[j], std::uint32_t{row + column[j] - 2U * product[j]});
                             }
                         }
                     });
        if (from_wide) space.wide.clear();
    }

    // The rows of a triangle's last images are computed below the diagonal, so these are always copied.
    void mirror(std::size_t batch, const Block& block, bool all) {
        const Triangle triangle = make_triangle(block);
        if (!all && (!block.triangle || triangle.tail == 0)) return;
        constexpr std::size_t kSide = 16;  // small squares, so that the columns written stay in the cache
        for (std::size_t i0 = all ? 0 : triangle.full(); i0 < block.rows; i0 += kSide) {
            for (std::size_t j0 = 0; j0 < block.columns; j0 += kSide) {
                for (std::size_t i = i0; i < std::min(i0 + kSide, block.rows); ++i) {
                    const auto [first, last] =
                        block.triangle ? triangle.span(i) : std::pair(std::size_t{0}, block.columns);
                    const Sum* from = out_.row(batch, block.row + i) + block.column;
                    for (std::size_t j = std::max(j0, first); j < std::min(j0 + kSide, last); ++j) {
                        out_.row(batch, block.column + j)[block.row + i] = from[j];
                    }
                }
            }
        }
    }

    const Kernels& kernels_;
    const Images a_, b_;
    const bool symmetric_;
    const Grid grid_;
    const Matrix<Sum> out_;
    const int threads_;
    const std::vector<Chunk> chunks_;
    const bool fused_;
    std::size_t chunk_bytes_ = 0, tiles_ = 1, block_rows_ = 0, block_columns_ = 0;
    bool has_rectangles_ = false;
    std::vector<Block> blocks_;
    std::vector<TileRun> runs_;
    std::vector<Unit> units_;
    std::array<std::mutex, 64> merging_;
};

}  // namespace

template <class Sum>
void pairwise(const Kernels& kernels, Images a, const Images* other, Grid grid, Matrix<Sum> out, int threads,
              bool mirrored) {
    if (out.rows == 0 || out.columns == 0 || a.batches == 0) return;
    Images b = other == nullptr ? Images{} : *other;
    join_lines(a, other == nullptr ? nullptr : &b, grid);
    if (other == nullptr && a.count <= kDirectImages) {
        pairs_one_by_one(kernels, a, grid, out, threads);
        return;
    }
    Dense<Sum>(kernels, a, other == nullptr ? nullptr : &b, grid, out, threads).run(mirrored);
}

template void pairwise<std::uint32_t>(const Kernels&, Images, const Images*, Grid, Matrix<std::uint32_t>, int,
                                      bool);
template void pairwise<std::uint64_t>(const Kernels&, Images, const Images*, Grid, Matrix<std::uint64_t>, int,
                                      bool);

}  // namespace memcore::tiled_l2
