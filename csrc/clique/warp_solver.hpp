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
#pragma once

#include "cuda/device.hpp"
//
#include <cstdint>

#include "clique/warp_search.hpp"
#include "cuda/memcore_cuda.h"

namespace memcore::cuda {

// 32-bit words of shared memory for the levels of a warp: with them and warp_words' n, blocks of four warps
// on a multiprocessor are three of an A100 up to n = 360, four of an H100 up to n = 524, one fewer above.
constexpr int kLevelWords = 3072;

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

__host__ __device__ constexpr int shared_levels(int n, int words) {
    const int fit = words == 0 ? 0 : kLevelWords / level_words(words);
    return n < fit ? n : fit;
}
__host__ __device__ constexpr int warp_words(int n, int words) {
    return search_words(shared_levels(n, words), n, words);
}

class WarpSolver : WarpSearch<true> {
  public:
    __device__ WarpSolver(const Launch& launch, uint32_t* shared, uint32_t* deep_levels)
        : WarpSearch<true>(launch.n, launch.words, launch.n, launch.shared_levels, shared, deep_levels),
          launch_(launch) {
        node_limit_ = launch.node_limit;
    }

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
};

}  // namespace memcore::cuda
