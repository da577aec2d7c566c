// The first include of a .cu file: CUDA's header under nvcc, and nothing under csrc/tests/simt, which runs
// the same file on the CPU and includes its own header first.
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
