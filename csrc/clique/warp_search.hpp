// The search for cliques by one warp: sets of vertices as bits, word l of a set in lane l's register. Both
// kernels use it, on rows in device memory (max_clique.cu) and in shared memory (has_clique.cu).
//
// Memory: the two sets of each level of the search (candidates, branching vertices) lie in shared memory for
// as many levels as fit there, and in `deep_levels` below them. A lane reads and writes its own word only.
// What lanes share, the vertices chosen and the bound at each level, is written by lane 0 and ordered by
// __syncwarp.
#pragma once

#include "cuda/device.hpp"
//
#include <cstdint>

#include "cuda/memcore_cuda.h"

namespace memcore::cuda {

constexpr int kWordBits = 32;
static_assert(MEMCORE_CUDA_MAX_VERTICES == kWordBits * kWarpLanes, "a lane holds a word of a set");

__host__ __device__ constexpr int count_words(int n) { return (n + kWordBits - 1) / kWordBits; }
// Words of one level: its candidates and its branching vertices.
__host__ __device__ constexpr int level_words(int words) { return 2 * words; }
// Words of a warp with `levels` levels of a search no deeper than `depth`: the levels, and `depth` pairs of
// 16 bits (vertex chosen, bound) after them.
__host__ __device__ constexpr int search_words(int levels, int depth, int words) {
    return levels * level_words(words) + depth;
}

// kConstantRows: the rows do not change during the launch and lie in device memory.
template <bool kConstantRows>
class WarpSearch {
  public:
    // Levels of the search are at most `depth`, of which `shared_levels` are in `shared`.
    __device__ WarpSearch(int n, int words, int depth, int shared_levels, uint32_t* shared,
                          uint32_t* deep_levels)
        : n_(n),
          words_(words),
          lane_(static_cast<int>(threadIdx.x) % kWarpLanes),
          shared_levels_(shared_levels),
          levels_(shared),
          deep_levels_(deep_levels),
          chosen_(reinterpret_cast<uint16_t*>(shared + shared_levels * level_words(words))),
          bound_at_(chosen_ + depth) {}

  protected:
    __device__ uint32_t row(int v) const {
        if (lane_ >= words_) return 0u;
        const uint32_t* const word = rows_ + v * words_ + lane_;
        return kConstantRows ? __ldg(word) : *word;
    }
    __device__ uint32_t bit(int v) const { return lane_ == v / kWordBits ? 1u << v % kWordBits : 0u; }
    __device__ uint32_t all() const {
        const int bits = n_ - lane_ * kWordBits;
        return bits >= kWordBits ? ~0u : bits > 0 ? (1u << bits) - 1 : 0u;
    }
    __device__ static int count(uint32_t set) {
        return static_cast<int>(__reduce_add_sync(kWholeWarp, static_cast<unsigned>(__popc(set))));
    }
    __device__ static bool none(uint32_t set) { return __any_sync(kWholeWarp, set != 0) == 0; }
    // The smallest member, -1 where there is none.
    __device__ static int first(uint32_t set) {
        const unsigned lanes = __ballot_sync(kWholeWarp, set != 0);
        if (lanes == 0) return -1;
        const int lane = __ffs(static_cast<int>(lanes)) - 1;
        return lane * kWordBits + __ffs(static_cast<int>(__shfl_sync(kWholeWarp, set, lane))) - 1;
    }
    __device__ bool holds(uint32_t set, int v) const { return !none(set & bit(v)); }

    // The vertices that a greedy colouring leaves over after `colours` colours; the others hold no larger
    // clique.
    __device__ uint32_t uncoloured(uint32_t set, int colours) const {
        for (int colour = 0; colour < colours && !none(set); ++colour) set = without_a_colour(set);
        return set;
    }
    __device__ int colours(uint32_t set) const {
        int used = 0;
        for (; !none(set); ++used) set = without_a_colour(set);
        return used;
    }

    // A clique of more than `lower` vertices, the largest or the first of `stop_at`: returns its size and
    // sets *found, or returns `lower`. *finished is false where the node limit ended it. 0 <= lower.
    __device__ int search(uint32_t candidates, int lower, int stop_at, uint32_t* found, bool* finished) {
        int best = lower;
        *finished = take_node();
        if (!*finished) return best;
        __syncwarp();  // an earlier search may still be reading its last bound
        enter(0, candidates, uncoloured(candidates, best), best);
        for (int depth = 0; depth >= 0;) {
            candidates = lane_ < words_ ? level(depth)[0] : 0u;
            uint32_t branching = lane_ < words_ ? level(depth)[words_] : 0u;
            if (best > bound_at_[depth]) {
                // A better clique came up since: more of the level can be left out.
                branching &= uncoloured(candidates, best - depth);
                __syncwarp();  // all lanes have read the old bound
                enter(depth, candidates, branching, best);
            }
            const int v = first(branching);
            if (v < 0) {
                --depth;
                continue;
            }
            candidates &= ~bit(v);
            save(depth, candidates, branching & ~bit(v));
            __syncwarp();  // all lanes have read the old value
            if (lane_ == 0) chosen_[depth] = static_cast<uint16_t>(v);
            __syncwarp();
            const uint32_t next = candidates & row(v);
            const int size = depth + 1;
            const int left = count(next);
            if (size + left <= best) continue;
            if (size > best) {
                best = size;
                *found = 0;
                for (int i = 0; i < size; ++i) *found |= bit(chosen_[i]);
                if (best >= stop_at) return best;
            }
            if (left == 0) continue;
            if (!take_node()) {
                *finished = false;
                return best;
            }
            const uint32_t open = uncoloured(next, best - size);
            if (none(open)) continue;
            depth = size;
            enter(depth, next, open, best);
        }
        return best;
    }

    int n_;
    int words_;
    int lane_;
    const uint32_t* rows_ = nullptr;
    int64_t nodes_ = 0;
    int64_t node_limit_ = 0;

  private:
    __device__ uint32_t without_a_colour(uint32_t set) const {
        uint32_t open = set;
        for (int v = first(open); v >= 0; v = first(open)) {
            set &= ~bit(v);
            open &= ~(bit(v) | row(v));
        }
        return set;
    }

    // This lane's word of the candidates of a level; that of its branching vertices is `words` further on.
    __device__ uint32_t* level(int depth) const {
        const int stride = level_words(words_);
        uint32_t* const base = depth < shared_levels_
                                   ? levels_ + depth * stride
                                   : deep_levels_ + static_cast<int64_t>(depth - shared_levels_) * stride;
        return base + lane_;
    }
    __device__ void enter(int depth, uint32_t candidates, uint32_t branching, int bound) {
        save(depth, candidates, branching);
        if (lane_ == 0) bound_at_[depth] = static_cast<uint16_t>(bound);
        __syncwarp();
    }
    __device__ void save(int depth, uint32_t candidates, uint32_t branching) const {
        if (lane_ >= words_) return;
        level(depth)[0] = candidates;
        level(depth)[words_] = branching;
    }
    __device__ bool take_node() {
        if (nodes_ == node_limit_) return false;
        ++nodes_;
        return true;
    }

    int shared_levels_;
    uint32_t* levels_;
    uint32_t* deep_levels_;
    uint16_t* chosen_;    // chosen_[d]: the vertex that level d branches on
    uint16_t* bound_at_;  // bound_at_[d]: the best size when level d's branching vertices were chosen
};

}  // namespace memcore::cuda
