// Is there a clique of min_size in each of many graphs? What an audit asks of every prompt that is due,
// nearly all of which have none.
//
//   1. core_kernel    a warp a graph, a lane a vertex. First the rows' upper half alone: the lowest vertex of
//   a
//                     clique has min_size - 1 neighbours above it, so that a graph without such a vertex is
//                     done; the number of edges is the sum. Else the core is peeled: vertices with fewer than
//                     min_size - 1 neighbours are dropped until none is left to drop.
//   2. search_kernel  a block a graph of those that have a core, its rows in shared memory. The vertices that
//                     do not fit into min_size - 1 colours are branched on first; warps take them from a
//                     queue. A warp's share of the node limit depends on the graph alone, and so does the
//                     answer.
#include "cuda/device.hpp"
//
#include <cstddef>
#include <cstdint>

#include "clique/warp_search.hpp"
#include "cuda/memcore_cuda.h"
#include "cuda/on_device.hpp"

namespace memcore::cuda {
namespace {

constexpr int kCoreWarps = 4;
constexpr int kSearchWarps = 8;
// Blocks of a multiprocessor, with 64 registers a thread. Told so, the compiler takes enough not to spill.
constexpr int kCoreBlocks = 8;
constexpr int kSearchBlocks = 4;

// The arguments that all warps share.
struct Question {
    const uint32_t* adjacency;
    const int32_t* slots;
    int n;
    int words;
    int64_t graphs;
    int min_size;
    int64_t node_limit;
    int32_t* answers;
    unsigned long long* listed;  // graphs that have a core
    unsigned long long* ticket;  // the next of them that no block has taken
    int64_t* list;               // their numbers
    uint32_t* cores;             // and their cores, (graphs, words)
};

__device__ const uint32_t* rows_of(const Question& question, int64_t graph) {
    const int64_t slot = question.slots == nullptr ? graph : __ldg(question.slots + graph);
    return question.adjacency + slot * question.n * question.words;
}

// Words that lie together, as one load: 4, 2 or 1 of them.
template <int kWords>
struct Loaded;
template <>
struct Loaded<4> {
    using Type = uint4;
    __device__ static uint32_t word(uint4 all, int i) {
        return i == 0 ? all.x : i == 1 ? all.y : i == 2 ? all.z : all.w;
    }
};
template <>
struct Loaded<2> {
    using Type = uint2;
    __device__ static uint32_t word(uint2 all, int i) { return i == 0 ? all.x : all.y; }
};
template <>
struct Loaded<1> {
    using Type = uint32_t;
    __device__ static uint32_t word(uint32_t all, int) { return all; }
};

// Neighbours of a row's vertex from word `from` on, `masks(w)` saying which bits of word w count. `words` is
// a multiple of kWords.
template <int kWords, class Masks>
__device__ int neighbours(const uint32_t* row, int from, int words, Masks&& masks) {
    int degree = 0;
    for (int w = from / kWords * kWords; w < words; w += kWords) {
        const auto all = __ldg(reinterpret_cast<const typename Loaded<kWords>::Type*>(row + w));
        for (int i = 0; i < kWords; ++i) degree += __popc(Loaded<kWords>::word(all, i) & masks(w + i));
    }
    return degree;
}

// Sets `alive` to the core; false where it is empty. `alive` is the warp's own, in shared memory.
template <int kWords>
__device__ bool find_core(const Question& question, const uint32_t* rows, uint32_t* alive) {
    const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
    const int bits = question.n - lane * kWordBits;
    __syncwarp();  // all lanes are done with the graph before
    alive[lane] = bits >= kWordBits ? ~0u : bits > 0 ? (1u << bits) - 1 : 0u;
    __syncwarp();
    for (bool changed = true; changed;) {
        changed = false;
        for (int group = 0; group < question.words; ++group) {
            const uint32_t before = alive[group];
            if (before == 0) continue;
            bool stays = (before >> lane & 1) != 0;
            if (stays) {
                const uint32_t* const row = rows + (group * kWordBits + lane) * question.words;
                const auto living = [&](int w) { return alive[w]; };
                stays = neighbours<kWords>(row, 0, question.words, living) >= question.min_size - 1;
            }
            const unsigned after = __ballot_sync(kWholeWarp, stays);
            if (after == before) continue;
            changed = true;
            __syncwarp();  // all lanes have read the old word
            if (lane == 0) alive[group] = after;
            __syncwarp();
        }
    }
    return __any_sync(kWholeWarp, alive[lane] != 0) != 0;
}

template <int kWords>
__global__ void __launch_bounds__(kCoreWarps* kWarpLanes, kCoreBlocks) core_kernel(Question question) {
    MEMCORE_SHARED_WORDS(shared);
    const int warp = static_cast<int>(threadIdx.x) / kWarpLanes;
    const int lane = static_cast<int>(threadIdx.x) % kWarpLanes;
    uint32_t* const alive = shared + warp * kWarpLanes;
    const int64_t warps = static_cast<int64_t>(gridDim.x) * kCoreWarps;
    for (int64_t graph = static_cast<int64_t>(blockIdx.x) * kCoreWarps + warp; graph < question.graphs;
         graph += warps) {
        const uint32_t* const rows = rows_of(question, graph);
        int edges = 0;
        bool may_be_lowest = false;
        for (int group = 0; group < question.words; ++group) {
            const int v = group * kWordBits + lane;
            if (v >= question.n) continue;
            const auto above = [&](int w) {
                const int behind = question.n - w * kWordBits;
                const uint32_t within = behind >= kWordBits ? ~0u : (1u << behind) - 1;
                return w > group ? within : w < group ? 0u : within & ~(~0u >> (kWordBits - 1 - lane));
            };
            const int higher = neighbours<kWords>(rows + v * question.words, group, question.words, above);
            edges += higher;
            may_be_lowest = may_be_lowest || higher >= question.min_size - 1;
        }
        edges = static_cast<int>(__reduce_add_sync(kWholeWarp, static_cast<unsigned>(edges)));
        int answer = MEMCORE_CUDA_NONE;
        if (__any_sync(kWholeWarp, may_be_lowest) != 0 || question.min_size == 0) {
            if (question.min_size <= 2) {
                answer = MEMCORE_CUDA_SOME;
            } else if (find_core<kWords>(question, rows, alive)) {
                answer = MEMCORE_CUDA_OPEN;
                unsigned long long place = 0;
                if (lane == 0) place = atomicAdd(question.listed, 1ull);
                place = __shfl_sync(kWholeWarp, place, 0);
                if (lane == 0) question.list[place] = graph;
                if (lane < question.words) question.cores[place * question.words + lane] = alive[lane];
            }
        }
        if (lane < 2) question.answers[2 * graph + lane] = lane == 0 ? answer : edges;
    }
}

// What the warps of a block share, before the rows and the levels of their searches.
struct Block {
    unsigned long long place;
    int next;   // the queue: the next first vertex that no warp has taken
    int found;  // warps that found a clique
    int open;   // searches that the limit ended
    int unused;
};
constexpr int kBlockWords = static_cast<int>(sizeof(Block) / sizeof(uint32_t));

template <bool kSharedRows>
class FirstVertices : WarpSearch<!kSharedRows> {
  public:
    __device__ FirstVertices(const Question& question, uint32_t* shared)
        : WarpSearch<!kSharedRows>(question.n, question.words, question.min_size, question.min_size, shared,
                                   nullptr),
          question_(question) {}

    // Takes first vertices of a core from the block's queue until none is left, or a clique is found.
    __device__ void run(const uint32_t* rows, uint32_t core, Block* block) {
        this->rows_ = rows;
        const int needed = question_.min_size - 1;  // beside the first vertex
        const uint32_t branching = this->uncoloured(core, needed);
        const int branches = this->count(branching);
        this->node_limit_ = question_.node_limit;
        if (branches > 0 && question_.node_limit > 0) {
            const int64_t share = question_.node_limit / branches;
            this->node_limit_ = share > 0 ? share : 1;
        }
        uint32_t rest = branching;
        for (int at = 0;; ++at) {
            int taken = 0;
            if (this->lane_ == 0) taken = atomicAdd(&block->next, 1);
            taken = __shfl_sync(kWholeWarp, taken, 0);
            if (taken >= branches) return;
            for (; at < taken; ++at) rest &= ~this->bit(this->first(rest));
            const int v = this->first(rest);
            rest &= ~this->bit(v);
            // Those before v, and v itself, are out: a clique with one of them is that one's.
            const uint32_t candidates = core & ~(branching & ~rest) & this->row(v);
            if (this->count(candidates) < needed) continue;
            this->nodes_ = 0;
            uint32_t clique = 0;
            bool finished = true;
            const int size = this->search(candidates, needed - 1, needed, &clique, &finished);
            if (size == needed) {
                if (this->lane_ == 0) {
                    atomicAdd(&block->found, 1);
                    atomicAdd(&block->next, MEMCORE_CUDA_MAX_VERTICES);  // nothing is left to take
                }
                return;
            }
            if (!finished && this->lane_ == 0) atomicAdd(&block->open, 1);
        }
    }

  private:
    const Question& question_;
};

template <bool kSharedRows>
__global__ void __launch_bounds__(kSearchWarps* kWarpLanes, kSearchBlocks) search_kernel(Question question) {
    MEMCORE_SHARED_WORDS(shared);
    const int thread = static_cast<int>(threadIdx.x);
    const int lane = thread % kWarpLanes;
    const int all_rows = question.n * question.words;
    Block* const block = reinterpret_cast<Block*>(shared);
    uint32_t* const rows = shared + kBlockWords;
    uint32_t* const levels = rows + (kSharedRows ? all_rows : 0);
    FirstVertices<kSharedRows> warp(
        question,
        levels + thread / kWarpLanes * search_words(question.min_size, question.min_size, question.words));
    for (;;) {
        if (thread == 0) {
            block->place = atomicAdd(question.ticket, 1ull);
            block->next = block->found = block->open = 0;
        }
        __syncthreads();
        const unsigned long long place = block->place;
        if (place >= *question.listed) return;
        const int64_t graph = question.list[place];
        const uint32_t* const global = rows_of(question, graph);
        if (kSharedRows) {
            for (int i = thread; i < all_rows; i += kSearchWarps * kWarpLanes) rows[i] = __ldg(global + i);
            __syncthreads();
        }
        const uint32_t core = lane < question.words ? question.cores[place * question.words + lane] : 0u;
        warp.run(kSharedRows ? rows : global, core, block);
        __syncthreads();
        if (thread == 0) {
            question.answers[2 * graph] = block->found > 0  ? MEMCORE_CUDA_SOME
                                          : block->open > 0 ? MEMCORE_CUDA_OPEN
                                                            : MEMCORE_CUDA_NONE;
        }
    }
}

// ---- host

constexpr int64_t kCounterBytes = 16;  // listed and ticket

std::size_t search_bytes(int n, int words, int min_size, bool shared_rows) {
    const std::size_t rows = shared_rows ? static_cast<std::size_t>(n) * static_cast<std::size_t>(words) : 0;
    const auto levels = static_cast<std::size_t>(search_words(min_size, min_size, words));
    return sizeof(uint32_t) * (kBlockWords + rows + kSearchWarps * levels);
}

template <class Kernel>
cudaError_t start(Kernel kernel, int64_t blocks, int warps, std::size_t bytes, cudaStream_t queue,
                  const Question& question) {
    cudaLaunchConfig_t configuration{};
    configuration.gridDim = dim3(static_cast<unsigned>(blocks));
    configuration.blockDim = dim3(static_cast<unsigned>(warps * kWarpLanes));
    configuration.dynamicSmemBytes = bytes;
    configuration.stream = queue;
    return cudaLaunchKernelEx(&configuration, kernel, question);
}

template <class Kernel>
cudaError_t start_search(Kernel kernel, int processors, int most_bytes, std::size_t bytes, cudaStream_t queue,
                         const Question& question) {
    // The device's limit, not this launch's need: see max_clique.cu.
    const cudaError_t error =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, most_bytes);
    if (error != cudaSuccess) return error;
    const int64_t at_once = processors * (most_bytes / static_cast<int64_t>(bytes));
    return start(kernel, question.graphs < at_once ? question.graphs : at_once, kSearchWarps, bytes, queue,
                 question);
}

}  // namespace
}  // namespace memcore::cuda

int64_t memcore_cuda_has_clique_workspace(int n, int64_t graphs) {
    using namespace memcore::cuda;
    if (!in_range(n, graphs)) return -1;
    const int64_t bytes =
        static_cast<int64_t>(sizeof(int64_t)) + static_cast<int64_t>(sizeof(uint32_t)) * count_words(n);
    return kCounterBytes + (graphs * bytes + 7) / 8 * 8;
}

int memcore_cuda_has_clique(int device, void* stream, const uint32_t* adjacency, const int32_t* slots, int n,
                            int64_t graphs, int min_size, int64_t node_limit, int32_t* answers,
                            void* workspace) {
    using namespace memcore::cuda;
    if (!in_range(n, graphs) || min_size < 0 || node_limit < 0)
        return static_cast<int>(cudaErrorInvalidValue);
    if (graphs == 0) return static_cast<int>(cudaSuccess);
    const OnDevice on(device);
    if (on.error() != cudaSuccess) return static_cast<int>(on.error());
    const auto queue = static_cast<cudaStream_t>(stream);
    int processors = 0;
    int most_bytes = 0;
    cudaError_t error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    if (error != cudaSuccess) return static_cast<int>(error);
    error = cudaDeviceGetAttribute(&most_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    if (error != cudaSuccess) return static_cast<int>(error);
    error = cudaMemsetAsync(workspace, 0, static_cast<std::size_t>(kCounterBytes), queue);
    if (error != cudaSuccess) return static_cast<int>(error);

    Question question{};
    question.adjacency = adjacency;
    question.slots = slots;
    question.n = n;
    question.words = count_words(n);
    question.graphs = graphs;
    question.min_size = min_size;
    question.node_limit = node_limit;
    question.answers = answers;
    question.listed = static_cast<unsigned long long*>(workspace);
    question.ticket = question.listed + 1;
    question.list = reinterpret_cast<int64_t*>(question.listed + 2);
    question.cores = reinterpret_cast<uint32_t*>(question.list + graphs);

    const int64_t wanted = (graphs + kCoreWarps - 1) / kCoreWarps;
    const int64_t at_once = static_cast<int64_t>(processors) * 16;
    const int64_t blocks = wanted < at_once ? wanted : at_once;
    const std::size_t alive = sizeof(uint32_t) * kCoreWarps * kWarpLanes;
    const bool by_four = question.words % 4 == 0 && reinterpret_cast<std::uintptr_t>(adjacency) % 16 == 0;
    const bool by_two = question.words % 2 == 0 && reinterpret_cast<std::uintptr_t>(adjacency) % 8 == 0;
    error = by_four  ? start(core_kernel<4>, blocks, kCoreWarps, alive, queue, question)
            : by_two ? start(core_kernel<2>, blocks, kCoreWarps, alive, queue, question)
                     : start(core_kernel<1>, blocks, kCoreWarps, alive, queue, question);
    if (error != cudaSuccess || min_size <= 2 || min_size > n) return static_cast<int>(error);
    const std::size_t with_rows = search_bytes(n, question.words, min_size, true);
    const std::size_t without = search_bytes(n, question.words, min_size, false);
    if (with_rows <= static_cast<std::size_t>(most_bytes)) {
        error = start_search(search_kernel<true>, processors, most_bytes, with_rows, queue, question);
    } else if (without <= static_cast<std::size_t>(most_bytes)) {
        error = start_search(search_kernel<false>, processors, most_bytes, without, queue, question);
    }
    return static_cast<int>(error);
}
