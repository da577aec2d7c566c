// What a .cu file includes first: CUDA where nvcc compiles it, and nothing where csrc/tests/simt runs the
// same file on the CPU, whose header comes before it.
#pragma once

#ifdef __CUDACC__
#include <cuda_runtime.h>

// The block's dynamic shared memory, in 32-bit words.
#define MEMCORE_SHARED_WORDS(name) extern __shared__ uint32_t name[]
#endif

namespace memcore::cuda {

constexpr unsigned kWholeWarp = 0xffffffffu;
constexpr int kWarpLanes = 32;

}  // namespace memcore::cuda
