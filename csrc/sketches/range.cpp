#include "sketches/range.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>

#include "panels/images.hpp"
#include "panels/pack.hpp"
#include "panels/products.hpp"
#include "runtime/aligned.hpp"
#include "runtime/interrupt.hpp"
#include "runtime/thread_pool.hpp"

namespace memcore::sketches {
namespace {

using panels::kPanelImages;
using panels::Panels;

// Rows of the corpus that are packed and multiplied at once: with the products of one panel of centres they
// stay in the first-level cache, their fine sketches in the second.
constexpr std::size_t kRowsPerBlock = 192;
constexpr std::size_t kCentresBetweenChecks = 64 * kPanelImages;
constexpr std::size_t kBlocksPerUnit = 16;  // blocks that a thread takes at a time

panels::Images view(const Rows& rows) {
    panels::Images images;
    images.data = rows.data;
    images.count = rows.count;
    images.height = 1;
    images.row_bytes = rows.width;
    images.image_stride = static_cast<std::ptrdiff_t>(rows.width);
    return images;
}

struct Workspace {
    Panels corpus;
    AlignedArray<std::uint32_t> products;
    std::vector<std::uint32_t> ssd, index;
};

class Searching {
  public:
    Searching(const panels::Kernels& kernels, const Search& search)
        : kernels_(kernels),
          coarse_(search.coarse),
          fine_(search.fine),
          offsets_(search.offsets),
          images_(view(search.coarse.corpus)) {
        grid_.line_bytes = coarse_.corpus.width;
        centres_ = Panels(kernels, panels::Side::kRows, groups(), 1, coarse_.corpus.width);
        centres_.clear_sums();
        centres_.pack(view(coarse_.centres), grid_, 0, 0, groups(), 0, 0, 1, chunk());
        alone_.resize(groups());
        for (std::size_t g = 0; g < groups(); ++g) alone_[g] = is_alone(coarse_, g) && is_alone(fine_, g);
    }

    bool run(std::size_t max_hits, std::vector<Hit>& hits, int threads) {
        const std::size_t blocks = (rows() + kRowsPerBlock - 1) / kRowsPerBlock;
        const std::size_t units = (blocks + kBlocksPerUnit - 1) / kBlocksPerUnit;
        std::vector<std::vector<Hit>> found(units);
        std::vector<std::unique_ptr<Workspace>> spaces(worker_count(units, threads));
        std::atomic<std::size_t> total{0};
        parallel_for(units, threads, [&](std::size_t unit, std::size_t worker) {
            if (!spaces[worker]) spaces[worker] = make_workspace();
            const panels::Products products(kernels_);
            const std::size_t end = std::min(blocks, (unit + 1) * kBlocksPerUnit);
            for (std::size_t b = unit * kBlocksPerUnit; b < end; ++b) {
                if (total.load(std::memory_order_relaxed) > max_hits) return;
                const std::size_t before = found[unit].size();
                search_block(b * kRowsPerBlock, *spaces[worker], found[unit]);
                total.fetch_add(found[unit].size() - before, std::memory_order_relaxed);
            }
        });
        if (total.load() > max_hits) return false;
        hits.reserve(total.load());
        for (const std::vector<Hit>& part : found) hits.insert(hits.end(), part.begin(), part.end());
        return true;
    }

  private:
    std::size_t groups() const { return coarse_.centres.count; }
    std::size_t rows() const { return coarse_.corpus.count; }
    panels::Chunk chunk() const { return {0, 1, 0, coarse_.corpus.width}; }

    // A group whose only point is its centre needs no second comparison.
    bool is_alone(const Level& level, std::size_t g) const {
        const auto first = static_cast<std::size_t>(offsets_[g]);
        return offsets_[g + 1] == offsets_[g] + 1 && level.limits[first] == level.centre_limits[g] &&
               std::memcmp(level.centres.row(g), level.points.row(first), level.centres.width) == 0;
    }

    std::unique_ptr<Workspace> make_workspace() const {
        auto space = std::make_unique<Workspace>();
        space->corpus = Panels(kernels_, panels::Side::kColumns, kRowsPerBlock, 1, coarse_.corpus.width);
        space->products = AlignedArray<std::uint32_t>(kPanelImages * kRowsPerBlock);
        space->ssd.resize(kRowsPerBlock);
        space->index.resize(kRowsPerBlock);
        return space;
    }

    // One panel of centres at a time, so that its products are read while they are in the cache.
    void search_block(std::size_t row, Workspace& space, std::vector<Hit>& hits) const {
        const std::size_t count = std::min(kRowsPerBlock, rows() - row);
        space.corpus.clear_sums();
        space.corpus.pack(images_, grid_, 0, row, count, 0, 0, 1, chunk());
        for (std::size_t first = 0; first < groups(); first += kPanelImages) {
            if (first % kCentresBetweenChecks == 0) check_interrupt();
            const std::size_t centres = std::min<std::size_t>(kPanelImages, groups() - first);
            multiply(first / kPanelImages, centres, count, space);
            for (std::size_t c = 0; c < centres; ++c) {
                const std::size_t group = first + c;
                const std::uint32_t term =
                    centres_.squares(0)[group] - 2 * kernels_.bias * centres_.sums(0)[group];
                const std::size_t found = kernels_.select_ssd(
                    space.products.data() + c * kRowsPerBlock, term, space.corpus.squares(0), count,
                    coarse_.centre_limits[group], space.ssd.data(), space.index.data());
                for (std::size_t f = 0; f < found; ++f) look_closer(group, row + space.index[f], hits);
            }
        }
    }

    void multiply(std::size_t panel, std::size_t centres, std::size_t rows, Workspace& space) const {
        const std::size_t panels = (rows + kPanelImages - 1) / kPanelImages;
        const auto width = static_cast<std::size_t>(kernels_.column_panels);
        for (std::size_t p = 0; p < panels; p += width) {
            kernels_.dot(centres_.as_rows(0, panel), centres_.stride(),
                         static_cast<int>(round_up(centres, 4)), space.corpus.as_columns(0, p),
                         space.corpus.stride(), static_cast<int>(std::min(width, panels - p)),
                         centres_.steps(), space.products.data() + p * kPanelImages, kRowsPerBlock, false);
        }
    }

    std::uint32_t ssd(const Rows& left, std::size_t i, const Rows& corpus, std::size_t row) const {
        return kernels_.pair_ssd(left.row(i), 0, corpus.row(row), 0, 1, corpus.width);
    }

    // The fine sketch rejects most of what the coarse one accepts, so it is compared first, for the centre
    // and for each point.
    void look_closer(std::size_t group, std::size_t row, std::vector<Hit>& hits) const {
        const std::uint32_t to_centre = ssd(fine_.centres, group, fine_.corpus, row);
        if (to_centre > fine_.centre_limits[group]) return;
        const auto first = static_cast<std::size_t>(offsets_[group]);
        const auto end = static_cast<std::size_t>(offsets_[group + 1]);
        const auto corpus_row = static_cast<std::int64_t>(row);
        if (alone_[group]) {
            hits.push_back({corpus_row, static_cast<std::uint32_t>(first), to_centre});
            return;
        }
        for (std::size_t p = first; p < end; ++p) {
            const std::uint32_t to_point = ssd(fine_.points, p, fine_.corpus, row);
            if (to_point <= fine_.limits[p] &&
                ssd(coarse_.points, p, coarse_.corpus, row) <= coarse_.limits[p]) {
                hits.push_back({corpus_row, static_cast<std::uint32_t>(p), to_point});
            }
        }
    }

    const panels::Kernels& kernels_;
    const Level coarse_, fine_;
    const std::int64_t* const offsets_;
    const panels::Images images_;
    panels::Grid grid_;
    Panels centres_;
    std::vector<char> alone_;
};

}  // namespace

bool range_search(const panels::Kernels& kernels, const Search& search, std::size_t max_hits,
                  std::vector<Hit>& hits, int threads) {
    hits.clear();
    if (search.coarse.centres.count == 0 || search.coarse.corpus.count == 0) return true;
    return Searching(kernels, search).run(max_hits, hits, threads);
}

void pair_ssd(const panels::Kernels& kernels, const Rows& left, const Rows& right, std::size_t tiles,
              const std::int64_t* i, const std::int64_t* j, std::size_t pairs, std::uint64_t* out,
              int threads) {
    constexpr std::size_t kPairsPerUnit = 1024, kPairsBetweenChecks = 16;
    const std::size_t tile_bytes = left.width / tiles;
    parallel_for((pairs + kPairsPerUnit - 1) / kPairsPerUnit, threads, [&](std::size_t unit, std::size_t) {
        const std::size_t end = std::min(pairs, (unit + 1) * kPairsPerUnit);
        for (std::size_t p = unit * kPairsPerUnit; p < end; ++p) {
            if (p % kPairsBetweenChecks == 0) check_interrupt();
            const std::uint8_t* x = left.row(static_cast<std::size_t>(i[p]));
            const std::uint8_t* y = right.row(static_cast<std::size_t>(j[p]));
            std::uint64_t largest = 0;
            for (std::size_t t = 0; t < tiles; ++t, x += tile_bytes, y += tile_bytes) {
                std::uint64_t ssd = 0;
                for (std::size_t k = 0; k < tile_bytes; k += panels::kMaxBytes32) {
                    const std::size_t bytes = std::min(panels::kMaxBytes32, tile_bytes - k);
                    ssd += kernels.pair_ssd(x + k, 0, y + k, 0, 1, bytes);
                }
                largest = std::max(largest, ssd);
            }
            out[p] = largest;
        }
    });
}

}  // namespace memcore::sketches
