// Runs a .cu file on the CPU: each CUDA thread is a fiber, a launch is a function call.
//
//     g++ -std=c++20 -x c++ -include tests/simt/simt.hpp kernel.cu
//
// The runtime (simt.cpp) leaves a fiber only at collectives, barriers, atomics and fences, in an order drawn
// from SIMT_SEED, with SIMT_RESIDENT blocks alive at once, and stops the program where CUDA would be
// undefined: masks that name absent lanes, lanes that meet in different collectives, diverged barriers,
// deadlock, more shared memory than the launch gave. Shared memory is filled with junk for each block. Built
// with sanitizers
// (-DSIMT_ASAN, -DSIMT_TSAN), a stray access and an unsynchronised one are errors: votes and shuffles order
// no memory, as in CUDA; only __syncwarp, __syncthreads and the end of a launch do.
//
// Only what the kernels here use is offered.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__

#define MEMCORE_SHARED_WORDS(name) \
    std::uint32_t* const name = static_cast<std::uint32_t*>(simt::shared_memory())

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
    constexpr dim3() = default;
    constexpr dim3(unsigned x_, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

struct uint2 {
    unsigned x, y;
};
struct uint4 {
    unsigned x, y, z, w;
};

namespace simt {

enum class Operation : int {
    kNone,
    kBallot,
    kAny,
    kShuffle,
    kSyncWarp,
    kReduceAdd,
    kBarrier,
};

// Which thread of which block a fiber is.
struct Place {
    dim3 thread, block, block_size, grid;
    unsigned lane = 0;
};

// The statistics of all launches, and what a schedule is drawn from; read from the environment once.
struct Settings {
    std::uint64_t seed;      // SIMT_SEED
    unsigned resident;       // SIMT_RESIDENT: blocks alive at once
    unsigned shared_bytes;   // that a block may have, as the device says
    std::uint64_t switches;  // fibers left so far
    // What lanes did so far: a warp's instruction counts once for each of its lanes that takes part.
    std::uint64_t loads;        // __ldg, of any width
    std::uint64_t collectives;  // votes, shuffles, sums, fences, barriers
    std::uint64_t bit_counts;   // __popc, __ffs
};
Settings& settings();
// Not inlined into the kernel: a sanitizer would take the counters for memory that the threads share.
void count_load();
void count_bits();

const Place& here();
// Joins the lanes of `mask` in one operation; `site` is where in the program.
std::int64_t collective(Operation operation, unsigned mask, std::int64_t input, int lane, const void* site);
void launch(dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& body);
void* shared_memory();
// Switches to other fibers, now and then: around atomics and fences, where their order shows.
void maybe_yield();

// A member that reads one coordinate, so that threadIdx.x is the running fiber's.
template <unsigned dim3::* kAxis, dim3 Place::* kWhat>
struct Coordinate {
    operator unsigned() const { return here().*kWhat.*kAxis; }
};
template <dim3 Place::* kWhat>
struct Coordinates {
    [[no_unique_address]] Coordinate<&dim3::x, kWhat> x;
    [[no_unique_address]] Coordinate<&dim3::y, kWhat> y;
    [[no_unique_address]] Coordinate<&dim3::z, kWhat> z;
};

}  // namespace simt

inline constexpr simt::Coordinates<&simt::Place::thread> threadIdx{};
inline constexpr simt::Coordinates<&simt::Place::block> blockIdx{};
inline constexpr simt::Coordinates<&simt::Place::block_size> blockDim{};
inline constexpr simt::Coordinates<&simt::Place::grid> gridDim{};

// The collectives are not inlined: their return address identifies the point in the program.
#define SIMT_COLLECTIVE __attribute__((noinline)) inline
#define SIMT_SITE __builtin_extract_return_addr(__builtin_return_address(0))

SIMT_COLLECTIVE void __syncthreads() { simt::collective(simt::Operation::kBarrier, 0, 0, 0, SIMT_SITE); }
SIMT_COLLECTIVE void __syncwarp(unsigned mask = 0xffffffffu) {
    simt::collective(simt::Operation::kSyncWarp, mask, 0, 0, SIMT_SITE);
}
SIMT_COLLECTIVE unsigned __ballot_sync(unsigned mask, int predicate) {
    return static_cast<unsigned>(
        simt::collective(simt::Operation::kBallot, mask, predicate != 0, 0, SIMT_SITE));
}
SIMT_COLLECTIVE int __any_sync(unsigned mask, int predicate) {
    return static_cast<int>(simt::collective(simt::Operation::kAny, mask, predicate != 0, 0, SIMT_SITE));
}
template <class T>
SIMT_COLLECTIVE T __shfl_sync(unsigned mask, T value, int lane) {
    static_assert(sizeof(T) <= sizeof(std::int64_t));
    std::int64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = simt::collective(simt::Operation::kShuffle, mask, bits, lane & 31, SIMT_SITE);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
template <class T>
SIMT_COLLECTIVE T __reduce_add_sync(unsigned mask, T value) {
    return static_cast<T>(
        simt::collective(simt::Operation::kReduceAdd, mask, static_cast<std::int64_t>(value), 0, SIMT_SITE));
}

inline int __popc(unsigned x) {
    simt::count_bits();
    return __builtin_popcount(x);
}
inline int __ffs(int x) {
    simt::count_bits();
    return __builtin_ffs(x);
}
template <class T>
T __ldg(const T* p) {
    simt::count_load();
    return *p;
}
template <class T>
T atomicAdd(T* address, T value) {
    simt::maybe_yield();
    const T before = __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
    simt::maybe_yield();
    return before;
}

// The part of the runtime's API that host code here uses. Device memory is host memory.
using cudaStream_t = void*;
enum cudaError_t : int { cudaSuccess = 0, cudaErrorInvalidValue = 1 };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount, cudaDevAttrMaxSharedMemoryPerBlockOptin };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    std::size_t dynamicSmemBytes;
    cudaStream_t stream;
    void* attrs;
    unsigned numAttrs;
};
constexpr int kSimtProcessors = 3;

inline cudaError_t cudaGetDevice(int* device) {
    *device = 0;
    return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidValue; }
inline cudaError_t cudaGetDeviceCount(int* count) {
    *count = 1;
    return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
    *value = attribute == cudaDevAttrMultiProcessorCount ? kSimtProcessors
                                                         : static_cast<int>(simt::settings().shared_bytes);
    return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* address, int value, std::size_t bytes, cudaStream_t) {
    std::memset(address, value, bytes);
    return cudaSuccess;
}
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel, cudaFuncAttribute, int value) {
    return value > static_cast<int>(simt::settings().shared_bytes) ? cudaErrorInvalidValue : cudaSuccess;
}
template <class Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Kernel, int, std::size_t) {
    *blocks = 2;
    return cudaSuccess;
}
inline const char* cudaGetErrorString(cudaError_t error) {
    return error == cudaSuccess ? "no error" : "error";
}
template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* configuration, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
    simt::launch(configuration->gridDim, configuration->blockDim, configuration->dynamicSmemBytes,
                 [&] { kernel(Parameters(arguments)...); });
    return cudaSuccess;
}
