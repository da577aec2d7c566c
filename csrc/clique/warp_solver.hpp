// Maximum cliques on a GPU: one warp a graph, sets of vertices as bits, word l of a set in lane l's register.
//
// The answer is the CPU solver's (max_clique.hpp): the lexicographically smallest maximum clique. That names
// one set, so that the two searches need not take the same path to it, and do not: their counts of nodes
// differ. Where the node limit ends a search, bounds hold and `proven` is 0, here as there.
//
// A warp takes graphs from a common counter until none is left (max_clique.cu). For each:
//   1. peel      drop vertices with fewer than min_size - 1 neighbours, until none is left to drop. Most
//                graphs of an audit end here, after each row was read once.
//   2. greedy    a clique to begin with: the vertex with the most neighbours, and with it at once all that
//                are neighbours of all others.
//   3. search    branch and bound for a larger one; the bound is a greedy colouring. With k colours for what
//                is left, no clique has more than k vertices, so only vertices that do not fit into as many
//                colours as are needed to beat the best are branched on.
//   4. canonise  decide on the vertices in ascending order: is there a clique of this size with those taken?
//
// Memory: the two sets of each level of the search (candidates, branching vertices) lie in shared memory for
// as many levels as fit there, and in the workspace below them. A lane reads and writes its own word only.
// What lanes share, the vertices chosen and the bound at each level, is written by lane 0 and ordered by
// __syncwarp.
#pragma once

#include "cuda/device.hpp"
//
#include <cstdint>

#include "cuda/memcore_cuda.h"

namespace memcore::cuda {

// 32-bit words of shared memory for the levels of a warp: with them and warp_words' n, blocks of four warps
// on a multiprocessor are three of an A100 up to n = 360, four of an H100 up to n = 524, one fewer above.
constexpr int kLevelWords = 3072;
constexpr int kWordBits = 32;
static_assert(MEMCORE_CUDA_MAX_VERTICES == kWordBits * kWarpLanes, "a lane holds a word of a set");

// The arguments that all warps of a launch share.
struct Launch {
    const uint32_t* adjacency;
    int n;
    int words;
    int64_t graphs;
    int min_size;
    int64_t node_limit;
    uint32_t* members;
    int64_t* bounds;
    unsigned long long* ticket;  // the next graph that no warp has taken
    uint32_t* deep_levels;       // for each warp of the grid (n - shared_levels) levels
    int shared_levels;
};

// Shared words of one warp: its levels, and n pairs of 16 bits (vertex chosen, bound) after them.
__host__ __device__ constexpr int level_words(int words) { return 2 * words; }
__host__ __device__ constexpr int shared_levels(int n, int words) {
    const int fit = words == 0 ? 0 : kLevelWords / level_words(words);
    return n < fit ? n : fit;
}
__host__ __device__ constexpr int warp_words(int n, int words) {
    return shared_levels(n, words) * level_words(words) + n;
}

class WarpSolver {
  public:
    __device__ WarpSolver(const Launch& launch, uint32_t* shared, uint32_t* deep_levels)
        : launch_(launch),
          lane_(static_cast<int>(threadIdx.x) % kWarpLanes),
          levels_(shared),
          deep_levels_(deep_levels),
          chosen_(reinterpret_cast<uint16_t*>(shared + launch.shared_levels * level_words(launch.words))),
          bound_at_(chosen_ + launch.n) {}

    __device__ void solve(int64_t graph) {
        rows_ = launch_.adjacency + graph * launch_.n * launch_.words;
        nodes_ = 0;
        const int floor = launch_.min_size > 1 ? launch_.min_size : 1;
        const uint32_t kept = peel(all(), floor - 1);
        const int vertices = count(kept);
        if (vertices < floor) return answer(graph, 0, 0, floor - 1, true);

        uint32_t clique = greedy(kept);
        int size = count(clique);
        if (size < floor) {
            clique = 0;
            size = floor - 1;
        }
        int upper = size;
        bool certain = true;
        const uint32_t larger = peel(kept, size);
        if (!none(larger)) {
            upper = colours(larger);
            if (upper > size) {
                uint32_t found = 0;
                const int best = search(larger, size, launch_.n + 1, &found, &certain);
                if (best > size) {
                    size = best;
                    clique = found;
                }
                if (certain) upper = size;
            } else {
                upper = size;
            }
        }
        if (none(clique)) {
            // No clique of the requested size: proven, or cut short.
            return answer(graph, 0, 0, upper, certain);
        }
        if (certain) certain = canonise(peel(kept, size - 1), &clique, size);
        answer(graph, clique, size, upper, certain);
    }

  private:
    __device__ uint32_t row(int v) const {
        return lane_ < launch_.words ? __ldg(rows_ + v * launch_.words + lane_) : 0u;
    }
    __device__ uint32_t bit(int v) const { return lane_ == v / kWordBits ? 1u << v % kWordBits : 0u; }
    __device__ uint32_t all() const {
        const int bits = launch_.n - lane_ * kWordBits;
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

    // The largest subset in which each vertex has at least `least` neighbours.
    __device__ uint32_t peel(uint32_t set, int least) const {
        for (bool changed = true; changed;) {
            changed = false;
            uint32_t rest = set;
            for (int v = first(rest); v >= 0; v = first(rest)) {
                rest &= ~bit(v);
                if (count(set & row(v)) >= least) continue;
                set &= ~bit(v);
                changed = true;
            }
        }
        return set;
    }

    __device__ uint32_t greedy(uint32_t set) const {
        uint32_t clique = 0;
        for (int left = count(set); left > 0; left = count(set)) {
            uint32_t of_all = 0;
            int best = -1;
            int most = -1;
            uint32_t rest = set;
            for (int v = first(rest); v >= 0; v = first(rest)) {
                rest &= ~bit(v);
                const int degree = count(set & row(v));
                if (degree == left - 1) of_all |= bit(v);
                if (degree > most) {
                    most = degree;
                    best = v;
                }
            }
            if (most == left - 1) {
                clique |= of_all;
                set &= ~of_all;
            } else {
                clique |= bit(best);
                set &= row(best);
            }
        }
        return clique;
    }

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
        const int stride = level_words(launch_.words);
        uint32_t* const base =
            depth < launch_.shared_levels
                ? levels_ + depth * stride
                : deep_levels_ + static_cast<int64_t>(depth - launch_.shared_levels) * stride;
        return base + lane_;
    }
    __device__ void enter(int depth, uint32_t candidates, uint32_t branching, int bound) {
        save(depth, candidates, branching);
        if (lane_ == 0) bound_at_[depth] = static_cast<uint16_t>(bound);
        __syncwarp();
    }
    __device__ void save(int depth, uint32_t candidates, uint32_t branching) const {
        if (lane_ >= launch_.words) return;
        level(depth)[0] = candidates;
        level(depth)[launch_.words] = branching;
    }
    __device__ bool take_node() {
        if (nodes_ == launch_.node_limit) return false;
        ++nodes_;
        return true;
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
            candidates = lane_ < launch_.words ? level(depth)[0] : 0u;
            uint32_t branching = lane_ < launch_.words ? level(depth)[launch_.words] : 0u;
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

    // Turns a maximum clique of the candidates into the lexicographically smallest one; false where the node
    // limit left that open. A vertex of the clique is taken. Another can replace the one that it is not
    // adjacent to, or else the question is whether its neighbours among the candidates hold a clique of what
    // is still needed.
    __device__ bool canonise(uint32_t candidates, uint32_t* clique, int needed) {
        uint32_t taken = 0;
        uint32_t rest = *clique;
        bool certain = true;
        while (certain && needed > 0 && count(candidates) > needed) {
            const int v = first(candidates);
            const uint32_t neighbours = row(v);
            candidates &= ~bit(v);
            bool take = holds(rest, v);
            if (!take) {
                const uint32_t apart = rest & ~neighbours;
                if (count(apart) == 1) {
                    rest = (rest & ~apart) | bit(v);
                    take = true;
                } else if (count(candidates & neighbours) >= needed - 1) {
                    uint32_t found = 0;
                    const int size =
                        search(candidates & neighbours, needed - 2, needed - 1, &found, &certain);
                    if (size == needed - 1) {
                        rest = found | bit(v);
                        take = true;
                    }
                }
            }
            if (take) {
                taken |= bit(v);
                rest &= ~bit(v);
                candidates &= neighbours;
                --needed;
            }
        }
        *clique = taken | rest;
        return certain;
    }

    __device__ void answer(int64_t graph, uint32_t clique, int lower, int upper, bool proven) const {
        if (lane_ < launch_.words) launch_.members[graph * launch_.words + lane_] = clique;
        if (lane_ >= MEMCORE_CUDA_BOUNDS) return;
        launch_.bounds[graph * MEMCORE_CUDA_BOUNDS + lane_] = lane_ == 0   ? lower
                                                              : lane_ == 1 ? upper
                                                              : lane_ == 2 ? (proven ? 1 : 0)
                                                                           : nodes_;
    }

    const Launch& launch_;
    int lane_;
    uint32_t* levels_;
    uint32_t* deep_levels_;
    uint16_t* chosen_;    // chosen_[d]: the vertex that level d branches on
    uint16_t* bound_at_;  // bound_at_[d]: the best size when level d's branching vertices were chosen
    const uint32_t* rows_ = nullptr;
    int64_t nodes_ = 0;
};

}  // namespace memcore::cuda
