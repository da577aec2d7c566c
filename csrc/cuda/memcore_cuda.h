/* What the CUDA part offers, to C and to anything that loads a library: raw device pointers, a stream, no
 * allocation, no synchronisation. no_cuda.cpp has the same symbols for builds without CUDA, so that nothing
 * else needs an #ifdef.
 *
 * Every function that returns int returns a cudaError_t: 0 for success, 35 (cudaErrorInsufficientDriver)
 * where there is no driver, as in a build without CUDA; memcore_cuda_error puts it into words. */
#ifndef MEMCORE_CUDA_H_
#define MEMCORE_CUDA_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Largest number of vertices of memcore_cuda_max_clique. */
#define MEMCORE_CUDA_MAX_VERTICES 1024
/* 64-bit words that a launch writes for each graph: lower, upper, proven, nodes. */
#define MEMCORE_CUDA_BOUNDS 4

/* 1 where this build holds the CUDA part. */
int memcore_cuda_built(void);

/* Counts the devices that the driver gives. */
int memcore_cuda_devices(int* count);

/* What an answer means, in words that live as long as the library. */
const char* memcore_cuda_error(int error);

/* Bytes of device memory that memcore_cuda_max_clique needs as workspace on this device; -1 where n or graphs
 * is out of range, -2 where the device does not answer. */
int64_t memcore_cuda_max_clique_workspace(int device, int n, int64_t graphs);

/* Maximum cliques of `graphs` graphs on n vertices each, one warp a graph, on the current context's `stream`.
 *
 *   adjacency    (graphs, n, words) 32-bit words, words = ceil(n / 32): bit u % 32 of word u / 32 of row v
 *                stands for the edge (v, u). Symmetric, nothing on the diagonal; bits from n on are ignored.
 *   min_size     cliques below it are not asked for: where there is none of it, the answer is the empty set
 *                with upper = min_size - 1. 0 and 1 ask for any.
 *   node_limit   nodes of the search for each graph, >= 0.
 *   members      (graphs, words): the clique as a set of bits.
 *   bounds       (graphs, MEMCORE_CUDA_BOUNDS): lower <= clique number <= upper; proven, 1 where members
 *                is the lexicographically smallest maximum clique, the CPU solver's answer; nodes entered.
 *   workspace    memcore_cuda_max_clique_workspace bytes, aligned to 8.
 *
 * An answer depends on its graph, min_size and node_limit alone: not on other graphs, the device or the order
 * in which warps run. */
int memcore_cuda_max_clique(int device, void* stream, const uint32_t* adjacency, int n, int64_t graphs,
                            int min_size, int64_t node_limit, uint32_t* members, int64_t* bounds,
                            void* workspace);

/* The answers of memcore_cuda_has_clique. */
#define MEMCORE_CUDA_NONE 0 /* there is none: proven */
#define MEMCORE_CUDA_SOME 1 /* there is one: proven */
#define MEMCORE_CUDA_OPEN 2 /* the node limit left it open */

/* Bytes of device memory that memcore_cuda_has_clique needs as workspace; -1 where n or graphs is out of
 * range. */
int64_t memcore_cuda_has_clique_workspace(int n, int64_t graphs);

/* Is there a clique of min_size? And how many edges? For `graphs` graphs, in two launches.
 *
 *   adjacency    as of memcore_cuda_max_clique, aligned to 16 for speed.
 *   slots        (graphs) 32-bit numbers: which of the graphs in adjacency each is; NULL for 0, 1, ...
 *   min_size     >= 0.
 *   node_limit   nodes of the search for each graph, shared out evenly among the vertices that it branches on
 *                first, at least one for each; >= 0.
 *   answers      (graphs, 2) 32-bit numbers: one of the three answers above, and the number of edges.
 *   workspace    memcore_cuda_has_clique_workspace bytes, aligned to 8.
 *
 * An answer depends on its graph, min_size, node_limit and on whether the search's levels fit the device's
 * shared memory, which they do up to a min_size of 64: else what the first launch cannot decide stays open.
 */
int memcore_cuda_has_clique(int device, void* stream, const uint32_t* adjacency, const int32_t* slots, int n,
                            int64_t graphs, int min_size, int64_t node_limit, int32_t* answers,
                            void* workspace);

#ifdef __cplusplus
}
#endif

#endif
