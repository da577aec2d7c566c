// The kernel and its launch: warps take graphs from a common counter until none is left. What a warp does
// with one is in warp_solver.hpp.
#include "cuda/device.hpp"
//
#include <cstddef>
#include <cstdint>

#include "clique/warp_solver.hpp"
#include "cuda/memcore_cuda.h"
#include "cuda/on_device.hpp"

namespace memcore::cuda {
namespace {

constexpr int kWarps = 4;
// What shared memory allows at most. Told so, the compiler takes registers enough not to spill.
constexpr int kBlocks = 4;

__global__ void __launch_bounds__(kWarps* kWarpLanes, kBlocks) max_clique_kernel(Launch launch) {
    MEMCORE_SHARED_WORDS(shared);
    const int warp = static_cast<int>(threadIdx.x) / kWarpLanes;
    const int64_t warp_of_grid = static_cast<int64_t>(blockIdx.x) * kWarps + warp;
    const int64_t deep = static_cast<int64_t>(launch.n - launch.shared_levels) * level_words(launch.words);
    WarpSolver solver(launch, shared + warp * warp_words(launch.n, launch.words),
                      launch.deep_levels + warp_of_grid * deep);
    for (;;) {
        unsigned long long graph = 0;
        if (threadIdx.x % kWarpLanes == 0) graph = atomicAdd(launch.ticket, 1ull);
        graph = __shfl_sync(kWholeWarp, graph, 0);
        if (graph >= static_cast<unsigned long long>(launch.graphs)) return;
        solver.solve(static_cast<int64_t>(graph));
    }
}

// ---- host

constexpr int64_t kTicketBytes = 16;  // the counter, and padding that keeps the levels after it aligned

std::size_t shared_bytes(int n) {
    return sizeof(uint32_t) * kWarps * static_cast<std::size_t>(warp_words(n, count_words(n)));
}

// What no number of vertices needs more of. Each call sets the kernel's limit to this one number: were it the
// call's own need, a call beside it could lower the limit between another's setting and its launch.
constexpr int kMostSharedBytes =
    static_cast<int>(sizeof(uint32_t)) * kWarps * (kLevelWords + MEMCORE_CUDA_MAX_VERTICES);

// As many blocks as the device holds at once, and no more than there is work for.
cudaError_t count_blocks(int device, int n, int64_t graphs, int64_t* blocks) {
    int processors = 0;
    int resident = 0;
    const auto bytes = shared_bytes(n);
    cudaError_t error = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    if (error != cudaSuccess) return error;
    error = cudaFuncSetAttribute(max_clique_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 kMostSharedBytes);
    if (error != cudaSuccess) return error;
    error = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, max_clique_kernel, kWarps * kWarpLanes,
                                                          bytes);
    if (error != cudaSuccess) return error;
    const int64_t at_once = static_cast<int64_t>(processors) * resident;
    const int64_t wanted = (graphs + kWarps - 1) / kWarps;
    *blocks = wanted < at_once ? wanted : at_once;
    return cudaSuccess;
}

}  // namespace
}  // namespace memcore::cuda

int memcore_cuda_built(void) { return 1; }

int memcore_cuda_devices(int* count) {
    *count = 0;
    return static_cast<int>(cudaGetDeviceCount(count));
}

const char* memcore_cuda_error(int error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }

int64_t memcore_cuda_max_clique_workspace(int device, int n, int64_t graphs) {
    using namespace memcore::cuda;
    if (!in_range(n, graphs)) return -1;
    if (n == 0 || graphs == 0) return kTicketBytes;
    const OnDevice on(device);
    int64_t blocks = 0;
    if (on.error() != cudaSuccess || count_blocks(device, n, graphs, &blocks) != cudaSuccess) return -2;
    const int words = count_words(n);
    const int64_t deep = static_cast<int64_t>(n - shared_levels(n, words)) * level_words(words);
    return kTicketBytes + blocks * kWarps * deep * static_cast<int64_t>(sizeof(uint32_t));
}

int memcore_cuda_max_clique(int device, void* stream, const uint32_t* adjacency, int n, int64_t graphs,
                            int min_size, int64_t node_limit, uint32_t* members, int64_t* bounds,
                            void* workspace) {
    using namespace memcore::cuda;
    if (!in_range(n, graphs) || min_size < 0 || node_limit < 0)
        return static_cast<int>(cudaErrorInvalidValue);
    if (graphs == 0) return static_cast<int>(cudaSuccess);
    const OnDevice on(device);
    if (on.error() != cudaSuccess) return static_cast<int>(on.error());
    const auto queue = static_cast<cudaStream_t>(stream);
    int64_t blocks = 0;
    cudaError_t error = count_blocks(device, n, graphs, &blocks);
    if (error != cudaSuccess) return static_cast<int>(error);
    const int words = count_words(n);
    Launch launch{};
    launch.adjacency = adjacency;
    launch.n = n;
    launch.words = words;
    launch.graphs = graphs;
    launch.min_size = min_size;
    launch.node_limit = node_limit;
    launch.members = members;
    launch.bounds = bounds;
    launch.ticket = static_cast<unsigned long long*>(workspace);
    launch.deep_levels = static_cast<uint32_t*>(workspace) + kTicketBytes / sizeof(uint32_t);
    launch.shared_levels = shared_levels(n, words);
    error = cudaMemsetAsync(workspace, 0, static_cast<std::size_t>(kTicketBytes), queue);
    if (error != cudaSuccess) return static_cast<int>(error);
    cudaLaunchConfig_t configuration{};
    configuration.gridDim = dim3(static_cast<unsigned>(blocks));
    configuration.blockDim = dim3(kWarps * kWarpLanes);
    configuration.dynamicSmemBytes = shared_bytes(n);
    configuration.stream = queue;
    return static_cast<int>(cudaLaunchKernelEx(&configuration, max_clique_kernel, launch));
}
