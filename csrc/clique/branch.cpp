// Tomita's MCS on bit rows (San Segundo's BBMC): colour the candidates greedily; a vertex of colour k ends no
// clique larger than k among those coloured before it, so only vertices of a colour above what is missing to
// a better clique are branched on.
#include "clique/branch.hpp"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "clique/bitset.hpp"
#include "runtime/interrupt.hpp"

namespace memcore::clique {
namespace {

constexpr std::int64_t kNodesBetweenChecks = 1024;  // a few milliseconds

template <int W>
class Colouring {
  public:
    Colouring(const Word* rows, Word* classes) : rows_(rows), classes_(classes) {}

    // Lists the candidates that cannot be coloured with `keep` colours, by ascending colour; returns how
    // many. The others contain no clique larger than `keep`.
    template <bool kRecolour>
    int colour(const Word* candidates, int keep, std::uint16_t* order, std::uint16_t* colours) {
        Word left[W];
        Word open[W];
        for (int i = 0; i < W; ++i) left[i] = candidates[i];
        int listed = 0;
        int from = 0;
        for (int k = 1;; ++k) {
            while (from < W && left[from] == 0) ++from;
            if (from == W) return listed;
            for (int i = 0; i < W; ++i) open[i] = left[i];
            Word* const members = classes_ + (k <= keep ? k : 0) * W;
            if (kRecolour && k <= keep) {
                for (int i = 0; i < W; ++i) members[i] = 0;
            }
            const int before = listed;
            for (int w = from; w < W; ++w) {
                while (open[w] != 0) {
                    const int bit = std::countr_zero(open[w]);
                    const int v = w * kWordBits + bit;
                    const Word* const row = rows_ + v * W;
                    for (int i = 0; i < W; ++i) open[i] &= ~row[i];
                    open[w] &= ~(Word{1} << bit);
                    left[w] &= ~(Word{1} << bit);
                    if (k <= keep) {
                        if (kRecolour) members[w] |= Word{1} << bit;
                    } else if (!kRecolour || !move_down(v, keep)) {
                        order[listed] = static_cast<std::uint16_t>(v);
                        colours[listed] = static_cast<std::uint16_t>(k);
                        ++listed;
                    }
                }
            }
            // All of this colour went into lower ones: the number is free again.
            if (kRecolour && k > keep && listed == before) --k;
        }
    }

  private:
    // Re-NUMBER: gives v a colour <= keep where v has at most one neighbour in it and that one can move to
    // another.
    bool move_down(int v, int keep) {
        const Word* const row = rows_ + v * W;
        for (int k = 1; k <= keep; ++k) {
            Word* const members = classes_ + k * W;
            int conflicts = 0;
            int other = 0;
            for (int i = 0; i < W; ++i) {
                const Word both = members[i] & row[i];
                if (both == 0) continue;
                conflicts += (both & (both - 1)) == 0 ? 1 : 2;
                other = i * kWordBits + std::countr_zero(both);
            }
            if (conflicts > 1) continue;
            if (conflicts == 1 && !move_aside(other, k, keep)) continue;
            members[v / kWordBits] |= Word{1} << (v % kWordBits);
            return true;
        }
        return false;
    }

    bool move_aside(int v, int from, int keep) {
        const Word* const row = rows_ + v * W;
        for (int k = from + 1; k <= keep; ++k) {
            Word* const members = classes_ + k * W;
            Word both = 0;
            for (int i = 0; i < W; ++i) both |= members[i] & row[i];
            if (both != 0) continue;
            const Word bit = Word{1} << (v % kWordBits);
            classes_[from * W + v / kWordBits] &= ~bit;
            members[v / kWordBits] |= bit;
            return true;
        }
        return false;
    }

    const Word* rows_;
    Word* classes_;  // the vertices of each colour 1 .. keep, while recolouring
};

template <int W>
class Branch {
  public:
    explicit Branch(BranchTask& task)
        : task_(task),
          rows_(task.rows),
          best_(task.lower),
          colouring_(task.rows, static_cast<Word*>(task.workspace)) {
        const auto n = static_cast<std::size_t>(task.n);
        sets_ = static_cast<Word*>(task.workspace) + (n + 1) * W;
        current_ = reinterpret_cast<int*>(sets_ + (n + 1) * W);
        lists_ = reinterpret_cast<std::uint16_t*>(current_ + n);
    }

    void run() {
        task_.size = 0;
        task_.nodes = 0;
        for (int i = 0; i < W; ++i) {
            const int bits = task_.n - i * kWordBits;
            sets_[i] = bits >= kWordBits ? ~Word{0} : bits > 0 ? (Word{1} << bits) - 1 : 0;
        }
        upper_ = task_.n;
        set_pause();
        expand(0);
        task_.finished = !cut_;
        task_.upper = !cut_ && !reached_ ? best_ : upper_ > best_ ? upper_ : best_;
    }

  private:
    // `depth` vertices are chosen in current_; sets_[depth] holds their common neighbours that are still to
    // be tried.
    void expand(int depth) {
        if (task_.nodes == pause_ && !resume()) {
            cut_ = true;
            return;
        }
        ++task_.nodes;
        Word* const candidates = sets_ + depth * W;
        Word* const next = candidates + W;
        std::uint16_t* const order = lists_ + static_cast<std::size_t>(depth) * 2 * task_.n;
        std::uint16_t* const colours = order + task_.n;
        const int listed = task_.recolour
                               ? colouring_.template colour<true>(candidates, best_ - depth, order, colours)
                               : colouring_.template colour<false>(candidates, best_ - depth, order, colours);
        for (int i = listed - 1; i >= 0; --i) {
            if (depth == 0) upper_ = colours[i];
            if (depth + colours[i] <= best_) return;
            const int v = order[i];
            const Word* const row = rows_ + v * W;
            int count = 0;
            for (int k = 0; k < W; ++k) next[k] = candidates[k] & row[k];
            for (int k = 0; k < W; ++k) count += count_bits(next[k]);
            current_[depth] = v;
            if (depth + 1 + count > best_) {
                if (count == 0) {
                    record(depth + 1);
                } else {
                    expand(depth + 1);
                }
                if (cut_ || reached_) return;
            }
            candidates[v / kWordBits] &= ~(Word{1} << (v % kWordBits));
        }
    }

    // The limit is one of the nodes at which the search pauses, so that looking for interrupts costs nothing.
    void set_pause() { pause_ = std::min(task_.node_limit, task_.nodes + kNodesBetweenChecks); }

    bool resume() {
        check_interrupt();
        set_pause();
        return task_.nodes != task_.node_limit;
    }

    void record(int size) {
        best_ = size;
        task_.size = size;
        for (int i = 0; i < size; ++i) task_.members[i] = current_[i];
        reached_ = size >= task_.stop_at;
    }

    BranchTask& task_;
    const Word* rows_;
    int best_;
    int upper_ = 0;
    std::int64_t pause_ = 0;
    bool cut_ = false;
    bool reached_ = false;
    Colouring<W> colouring_;
    Word* sets_;
    int* current_;
    std::uint16_t* lists_;
};

}  // namespace

void branch(BranchTask& task) {
    switch (task.words) {
        case 1:
            return Branch<1>(task).run();
        case 2:
            return Branch<2>(task).run();
        case 4:
            return Branch<4>(task).run();
        default:
            return Branch<8>(task).run();
    }
}

}  // namespace memcore::clique
