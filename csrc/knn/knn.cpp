#include "knn/knn.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <mutex>
#include <vector>

#include "panels/images.hpp"
#include "panels/pack.hpp"
#include "panels/products.hpp"
#include "runtime/aligned.hpp"
#include "runtime/interrupt.hpp"
#include "runtime/thread_pool.hpp"

namespace memcore::knn {
namespace {

using panels::Chunk;
using panels::Images;
using panels::kMaxBytes32;
using panels::kPanelImages;
using panels::kPanelStep;
using panels::Panels;
using panels::Products;
using panels::Side;

constexpr std::size_t kQueryBytes = 3UL << 20;  // packed queries of a block stay in the third-level cache
constexpr std::size_t kMaxQueries = 1024;
constexpr std::size_t kCorpusRows =
    192;  // a multiple of 2 and 3 panels, packed once for a whole block of queries
constexpr std::size_t kPassSteps = 128;  // steps of a pass: 3 panels of them stay in the first-level cache
constexpr std::size_t kUnitsPerThread = 4;

template <class Sum>
struct Neighbor {
    Sum ssd;
    std::int64_t index;
    bool operator<(const Neighbor& other) const {
        return ssd != other.ssd ? ssd < other.ssd : index < other.index;
    }
};

// The k smallest of what was offered. Candidates are collected, and cut back to k when there are twice as
// many: a constant number of steps for each, where a heap takes log k.
template <class Sum>
class Best {
  public:
    explicit Best(std::size_t k) : k_(k) {}

    // Adopts `count` earlier ones, all with smaller indices than those that follow.
    void begin_with(const Sum* ssd, const std::int64_t* index, std::size_t count) {
        for (std::size_t r = 0; r < count; ++r) kept_.push_back({ssd[r], index[r]});
        cut();
    }

    // A candidate whose ssd is above this cannot be among the k smallest, provided that its index is above
    // all others'.
    bool wants_more() const { return !limited_ || worst_ssd_ > 0; }
    Sum limit() const { return limited_ ? worst_ssd_ - 1 : std::numeric_limits<Sum>::max(); }

    void offer(const Neighbor<Sum>& candidate) {
        kept_.push_back(candidate);
        if (kept_.size() >= 2 * k_ + kSlack) cut();
    }
    // Ascending; at most k.
    const std::vector<Neighbor<Sum>>& sorted() {
        cut();
        std::sort(kept_.begin(), kept_.end());
        return kept_;
    }

  private:
    static constexpr std::size_t kSlack = 32;

    void cut() {
        if (kept_.size() < k_) return;
        const auto last = kept_.begin() + static_cast<std::ptrdiff_t>(k_ - 1);
        std::nth_element(kept_.begin(), last, kept_.end());
        worst_ssd_ = last->ssd;
        limited_ = true;
        kept_.resize(k_);
    }

    std::size_t k_;
    std::vector<Neighbor<Sum>> kept_;
    Sum worst_ssd_ = 0;
    bool limited_ = false;
};

struct Workspace {
    Panels queries, corpus;
    AlignedArray<std::uint32_t> products;
    AlignedArray<std::uint64_t> wide;  // only where one segment does not hold a row
    std::vector<std::uint32_t> ssd, index;
};

template <class Sum>
class Search {
  public:
    Search(const panels::Kernels& kernels, Rows queries, Rows corpus, std::size_t dimension, std::size_t k,
           Sum* ssd, std::int64_t* index, int threads, Before before)
        : kernels_(kernels),
          queries_(view(queries, dimension)),
          corpus_(view(corpus, dimension)),
          k_(k),
          ssd_(ssd),
          index_(index),
          threads_(threads),
          before_(before) {
        grid_.line_bytes = dimension;
        const std::size_t segment = std::min(dimension, kMaxBytes32 / kPanelStep * kPanelStep);
        segments_ =
            dimension <= kMaxBytes32 ? std::vector<Chunk>{{0, 1, 0, dimension}} : make_chunks(grid_, segment);
        segment_bytes_ = segments_.front().bytes;
        plan();
    }

    void run() {
        const std::size_t blocks = (queries_.count + query_block_ - 1) / query_block_;
        const std::size_t units = blocks * parts_;
        std::vector<std::unique_ptr<Workspace>> spaces(worker_count(units, threads_));
        if (parts_ > 1) merged_.assign(queries_.count, Best<Sum>(k_));
        parallel_for(units, threads_, [&](std::size_t unit, std::size_t worker) {
            if (!spaces[worker]) spaces[worker] = make_workspace();
            run_unit(unit / parts_, unit % parts_, *spaces[worker]);
        });
        if (parts_ > 1) {
            for (std::size_t q = 0; q < queries_.count; ++q) {
                check_interrupt();
                // Only here, so that no part offers them twice.
                for (std::size_t r = 0; r < before_.have; ++r)
                    merged_[q].offer({ssd_[q * k_ + r], index_[q * k_ + r]});
                write(q, merged_[q]);
            }
        }
    }

  private:
    static Images view(Rows rows, std::size_t dimension) {
        Images images;
        images.data = rows.data;
        images.count = rows.count;
        images.height = 1;
        images.row_bytes = dimension;
        images.image_stride = rows.stride;
        return images;
    }

    // Blocks of queries; few queries against a large corpus are cut along the corpus as well.
    void plan() {
        const std::size_t workers = worker_count(SIZE_MAX, threads_);
        const std::size_t fitting = std::max<std::size_t>(kQueryBytes / segment_bytes_, 4 * kPanelImages);
        query_block_ = std::min({fitting / kPanelImages * kPanelImages, kMaxQueries, queries_.count});
        if (workers == 1) return;
        const std::size_t wanted = workers * kUnitsPerThread;
        const std::size_t even = round_up((queries_.count + wanted - 1) / wanted, kPanelImages);
        query_block_ = std::min(query_block_, std::max<std::size_t>(even, 16 * kPanelImages));
        const std::size_t blocks = (queries_.count + query_block_ - 1) / query_block_;
        const std::size_t corpus_blocks = (corpus_.count + kCorpusRows - 1) / kCorpusRows;
        if (blocks < wanted) parts_ = std::min((wanted + blocks - 1) / blocks, corpus_blocks);
    }

    std::unique_ptr<Workspace> make_workspace() const {
        auto space = std::make_unique<Workspace>();
        const std::size_t columns = std::min(kCorpusRows, round_up(corpus_.count, kPanelImages));
        const std::size_t elements = round_up(query_block_, kPanelImages) * columns;
        space->queries = Panels(kernels_, Side::kRows, query_block_, 1, segment_bytes_);
        space->corpus = Panels(kernels_, Side::kColumns, columns, 1, segment_bytes_);
        space->products = AlignedArray<std::uint32_t>(elements);
        if (segments_.size() > 1) space->wide = AlignedArray<std::uint64_t>(elements);
        space->ssd.resize(columns);
        space->index.resize(columns);
        return space;
    }

    void run_unit(std::size_t block, std::size_t part, Workspace& space) {
        const Products products(kernels_);
        const std::size_t first = block * query_block_,
                          count = std::min(query_block_, queries_.count - first);
        const std::size_t corpus_blocks = (corpus_.count + kCorpusRows - 1) / kCorpusRows;
        const std::size_t begin = corpus_blocks * part / parts_, end = corpus_blocks * (part + 1) / parts_;
        std::vector<Best<Sum>> best(count, Best<Sum>(k_));
        if (parts_ == 1) {
            for (std::size_t q = 0; q < count; ++q)
                best[q].begin_with(ssd_ + (first + q) * k_, index_ + (first + q) * k_, before_.have);
        }
        if (segments_.size() == 1) pack(queries_, first, count, segments_[0], space.queries);
        for (std::size_t c = begin; c < end; ++c) {
            const std::size_t column = c * kCorpusRows,
                              columns = std::min(kCorpusRows, corpus_.count - column);
            for (const Chunk& segment : segments_) {
                check_interrupt();
                if (segments_.size() > 1) pack(queries_, first, count, segment, space.queries);
                pack(corpus_, column, columns, segment, space.corpus);
                multiply(count, columns, space);
                if (segments_.size() > 1) add_segment(count, columns, space);
            }
            select(count, column, columns, space, best);
        }
        if (parts_ == 1) {
            for (std::size_t q = 0; q < count; ++q) write(first + q, best[q]);
            return;
        }
        const std::lock_guard lock(merging_[block % merging_.size()]);
        for (std::size_t q = 0; q < count; ++q) {
            for (const Neighbor<Sum>& n : best[q].sorted()) merged_[first + q].offer(n);
        }
    }

    void pack(const Images& rows, std::size_t first, std::size_t count, const Chunk& segment,
              Panels& to) const {
        to.clear_sums();
        to.pack(rows, grid_, 0, first, count, 0, 0, 1, segment);
    }

    std::size_t product_stride() const {
        return std::min(kCorpusRows, round_up(corpus_.count, kPanelImages));
    }

    void multiply(std::size_t count, std::size_t columns, Workspace& space) const {
        const std::size_t row_panels = round_up(count, kPanelImages) / kPanelImages;
        const std::size_t panels = round_up(columns, kPanelImages) / kPanelImages;
        const std::size_t steps = space.corpus.steps(),
                          width = static_cast<std::size_t>(kernels_.column_panels),
                          together = static_cast<std::size_t>(kernels_.row_panels);
        for (std::size_t s = 0; s < steps; s += kPassSteps) {
            for (std::size_t p = 0; p < panels; p += width) {
                for (std::size_t r = 0; r < row_panels; r += together) {
                    const std::size_t rows = std::min(together * kPanelImages, count - r * kPanelImages);
                    kernels_.dot(
                        space.queries.as_rows(0, r) + s * kPanelStep, space.queries.stride(),
                        static_cast<int>(round_up(rows, 4)), space.corpus.as_columns(0, p) + s * kPanelStep,
                        space.corpus.stride(), static_cast<int>(std::min(width, panels - p)),
                        std::min(kPassSteps, steps - s),
                        space.products.data() + r * kPanelImages * product_stride() + p * kPanelImages,
                        product_stride(), s != 0);
                }
            }
        }
    }

    std::uint32_t row_term(const Workspace& space, std::size_t q) const {
        return space.queries.squares(0)[q] - 2 * kernels_.bias * space.queries.sums(0)[q];
    }

    void add_segment(std::size_t count, std::size_t columns, Workspace& space) const {
        for (std::size_t q = 0; q < count; ++q) {
            const std::uint32_t row = row_term(space, q);
            const std::uint32_t* product = space.products.data() + q * product_stride();
            std::uint64_t* sum = space.wide.data() + q * product_stride();
            for (std::size_t j = 0; j < columns; ++j) {
                sum[j] += std::uint32_t{row + space.corpus.squares(0)[j] - 2U * product[j]};
            }
        }
    }

    // Corpus rows come in ascending order within a unit, so one that equals the worst kept loses by its
    // index.
    void select(std::size_t count, std::size_t column, std::size_t columns, Workspace& space,
                std::vector<Best<Sum>>& best) const {
        for (std::size_t q = 0; q < count; ++q) {
            Best<Sum>& kept = best[q];
            if (!kept.wants_more()) continue;
            if (segments_.size() > 1) {
                const std::uint64_t* sum = space.wide.data() + q * product_stride();
                for (std::size_t j = 0; j < columns; ++j) {
                    const auto value = static_cast<Sum>(sum[j]);
                    if (kept.wants_more() && value <= kept.limit()) {
                        kept.offer({value, before_.rows + static_cast<std::int64_t>(column + j)});
                    }
                }
                continue;
            }
            const auto limit = static_cast<std::uint32_t>(std::min<Sum>(kept.limit(), UINT32_MAX));
            const std::size_t found = kernels_.select_ssd(
                space.products.data() + q * product_stride(), row_term(space, q), space.corpus.squares(0),
                columns, limit, space.ssd.data(), space.index.data());
            for (std::size_t f = 0; f < found; ++f) {
                kept.offer({space.ssd[f], before_.rows + static_cast<std::int64_t>(column + space.index[f])});
            }
        }
        if (segments_.size() > 1) space.wide.clear();
    }

    void write(std::size_t query, Best<Sum>& best) const {
        std::size_t at = query * k_;
        for (const Neighbor<Sum>& n : best.sorted()) {
            ssd_[at] = n.ssd;
            index_[at++] = n.index;
        }
    }

    const panels::Kernels& kernels_;
    const Images queries_, corpus_;
    const std::size_t k_;
    Sum* const ssd_;
    std::int64_t* const index_;
    const int threads_;
    const Before before_;
    panels::Grid grid_;
    std::vector<Chunk> segments_;
    std::size_t segment_bytes_ = 0, query_block_ = 0, parts_ = 1;
    std::vector<Best<Sum>> merged_;
    std::array<std::mutex, 64> merging_;
};

}  // namespace

template <class Sum>
void search(const panels::Kernels& kernels, Rows queries, Rows corpus, std::size_t dimension, std::size_t k,
            Sum* ssd, std::int64_t* index, int threads, Before before) {
    if (queries.count == 0 || corpus.count == 0 || k == 0) return;
    Search<Sum>(kernels, queries, corpus, dimension, k, ssd, index, threads, before).run();
}

template void search<std::uint32_t>(const panels::Kernels&, Rows, Rows, std::size_t, std::size_t,
                                    std::uint32_t*, std::int64_t*, int, Before);
template void search<std::uint64_t>(const panels::Kernels&, Rows, Rows, std::size_t, std::size_t,
                                    std::uint64_t*, std::int64_t*, int, Before);

}  // namespace memcore::knn
