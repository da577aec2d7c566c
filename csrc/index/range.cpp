#include "index/range.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>

#include "runtime/aligned.hpp"
#include "runtime/thread_pool.hpp"
#include "tiled_l2/images.hpp"
#include "tiled_l2/pack.hpp"

namespace memcore::index {
namespace {

using tiled_l2::kPanelImages;
using tiled_l2::Panels;

constexpr std::size_t kRowsPerBlock = 240;      // rows of the corpus that are packed and multiplied at once
constexpr std::size_t kBlocksPerUnit = 16;      // blocks that a thread takes at a time
constexpr std::size_t kCentresPerBlock = 1024;  // packed once and kept in the caches

tiled_l2::Images view(const Rows& rows) {
    tiled_l2::Images images;
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

class Search {
  public:
    Search(const tiled_l2::Kernels& kernels, const Groups& groups, const Rows& corpus)
        : kernels_(kernels), groups_(groups), corpus_(corpus), images_(view(corpus)) {
        grid_.line_bytes = corpus.width;
        const tiled_l2::Images centres = view(groups.centres);
        for (std::size_t first = 0; first < groups.centres.count; first += kCentresPerBlock) {
            const std::size_t count = std::min(kCentresPerBlock, groups.centres.count - first);
            Panels& panels = centres_.emplace_back(kernels, count, 1, corpus.width);
            panels.clear_sums();
            panels.pack(centres, grid_, 0, first, count, 0, 0, 1, chunk());
        }
        alone_.resize(groups.centres.count);
        for (std::size_t g = 0; g < alone_.size(); ++g) alone_[g] = is_alone(g);
    }

    bool run(std::size_t max_hits, std::vector<Hit>& hits, int threads) {
        const std::size_t blocks = (corpus_.count + kRowsPerBlock - 1) / kRowsPerBlock;
        const std::size_t units = (blocks + kBlocksPerUnit - 1) / kBlocksPerUnit;
        std::vector<std::vector<Hit>> found(units);
        std::vector<std::unique_ptr<Workspace>> spaces(worker_count(units, threads));
        std::atomic<std::size_t> total{0};
        parallel_for(units, threads, [&](std::size_t unit, std::size_t worker) {
            if (!spaces[worker]) spaces[worker] = make_workspace();
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
    tiled_l2::Chunk chunk() const { return {0, 1, 0, corpus_.width}; }

    // A group whose one point is its centre needs no second look.
    bool is_alone(std::size_t g) const {
        const auto first = static_cast<std::size_t>(groups_.offsets[g]);
        return groups_.offsets[g + 1] == groups_.offsets[g] + 1 &&
               groups_.limits[first] == groups_.centre_limits[g] &&
               std::memcmp(groups_.centres.row(g), groups_.points.row(first), corpus_.width) == 0;
    }

    std::unique_ptr<Workspace> make_workspace() const {
        auto space = std::make_unique<Workspace>();
        space->corpus = Panels(kernels_, kRowsPerBlock, 1, corpus_.width);
        space->products = AlignedArray<std::uint32_t>(
            round_up(std::min(kCentresPerBlock, groups_.centres.count), kPanelImages) * kRowsPerBlock);
        space->ssd.resize(kRowsPerBlock);
        space->index.resize(kRowsPerBlock);
        return space;
    }

    void search_block(std::size_t row, Workspace& space, std::vector<Hit>& hits) const {
        const std::size_t rows = std::min(kRowsPerBlock, corpus_.count - row);
        space.corpus.clear_sums();
        space.corpus.pack(images_, grid_, 0, row, rows, 0, 0, 1, chunk());
        for (std::size_t b = 0; b < centres_.size(); ++b) {
            const std::size_t first = b * kCentresPerBlock;
            const std::size_t count = std::min(kCentresPerBlock, groups_.centres.count - first);
            multiply(centres_[b], count, rows, space);
            for (std::size_t c = 0; c < count; ++c) {
                const std::uint32_t term =
                    centres_[b].squares(0)[c] - 2 * kernels_.bias * centres_[b].sums(0)[c];
                const std::size_t found = kernels_.select_ssd(
                    space.products.data() + c * kRowsPerBlock, term, space.corpus.squares(0), rows,
                    groups_.centre_limits[first + c], space.ssd.data(), space.index.data());
                for (std::size_t f = 0; f < found; ++f) {
                    look_at_points(first + c, row + space.index[f], space.ssd[f], hits);
                }
            }
        }
    }

    void multiply(const Panels& centres, std::size_t count, std::size_t rows, Workspace& space) const {
        std::memset(space.products.data(), 0,
                    round_up(count, kPanelImages) * kRowsPerBlock * sizeof(std::uint32_t));
        const std::size_t panels = (rows + kPanelImages - 1) / kPanelImages;
        const auto width = static_cast<std::size_t>(kernels_.column_panels);
        for (std::size_t p = 0; p < panels; p += width) {
            for (std::size_t r = 0; r * kPanelImages < count; ++r) {
                const std::size_t live = std::min<std::size_t>(kPanelImages, count - r * kPanelImages);
                kernels_.dot(centres.panel(0, r), 0, static_cast<int>(round_up(live, 4)),
                             space.corpus.panel(0, p), space.corpus.stride(),
                             static_cast<int>(std::min(width, panels - p)), centres.steps(),
                             space.products.data() + r * kPanelImages * kRowsPerBlock + p * kPanelImages,
                             kRowsPerBlock);
            }
        }
    }

    void look_at_points(std::size_t group, std::size_t row, std::uint32_t ssd, std::vector<Hit>& hits) const {
        const auto first = static_cast<std::size_t>(groups_.offsets[group]);
        const auto end = static_cast<std::size_t>(groups_.offsets[group + 1]);
        if (alone_[group]) {
            hits.push_back({static_cast<std::int64_t>(row), static_cast<std::uint32_t>(first), ssd});
            return;
        }
        for (std::size_t p = first; p < end; ++p) {
            const std::uint32_t own =
                kernels_.pair_ssd(groups_.points.row(p), 0, corpus_.row(row), 0, 1, corpus_.width);
            if (own <= groups_.limits[p]) {
                hits.push_back({static_cast<std::int64_t>(row), static_cast<std::uint32_t>(p), own});
            }
        }
    }

    const tiled_l2::Kernels& kernels_;
    const Groups& groups_;
    const Rows corpus_;
    const tiled_l2::Images images_;
    tiled_l2::Grid grid_;
    std::vector<Panels> centres_;
    std::vector<char> alone_;
};

}  // namespace

bool range_search(const tiled_l2::Kernels& kernels, const Groups& groups, const Rows& corpus,
                  std::size_t max_hits, std::vector<Hit>& hits, int threads) {
    hits.clear();
    if (groups.centres.count == 0 || corpus.count == 0) return true;
    return Search(kernels, groups, corpus).run(max_hits, hits, threads);
}

void pair_ssd(const tiled_l2::Kernels& kernels, const Rows& left, const Rows& right, std::size_t tiles,
              const std::int64_t* i, const std::int64_t* j, std::size_t pairs, std::uint64_t* out,
              int threads) {
    constexpr std::size_t kPairsPerUnit = 1024;
    const std::size_t tile_bytes = left.width / tiles;
    parallel_for((pairs + kPairsPerUnit - 1) / kPairsPerUnit, threads, [&](std::size_t unit, std::size_t) {
        const std::size_t end = std::min(pairs, (unit + 1) * kPairsPerUnit);
        for (std::size_t p = unit * kPairsPerUnit; p < end; ++p) {
            const std::uint8_t* x = left.row(static_cast<std::size_t>(i[p]));
            const std::uint8_t* y = right.row(static_cast<std::size_t>(j[p]));
            std::uint64_t largest = 0;
            for (std::size_t t = 0; t < tiles; ++t, x += tile_bytes, y += tile_bytes) {
                std::uint64_t ssd = 0;
                for (std::size_t k = 0; k < tile_bytes; k += tiled_l2::kMaxBytes32) {
                    const std::size_t bytes = std::min(tiled_l2::kMaxBytes32, tile_bytes - k);
                    ssd += kernels.pair_ssd(x + k, 0, y + k, 0, 1, bytes);
                }
                largest = std::max(largest, ssd);
            }
            out[p] = largest;
        }
    });
}

}  // namespace memcore::index
