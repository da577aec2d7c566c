// A build without CUDA: the symbols of memcore_cuda.h, and an answer that says so.
#include "cuda/memcore_cuda.h"

namespace {

// cudaErrorInsufficientDriver, without CUDA's header.
constexpr int kNoDriver = 35;

}  // namespace

int memcore_cuda_built() { return 0; }

int memcore_cuda_devices(int* count) {
    *count = 0;
    return kNoDriver;
}

const char* memcore_cuda_error(int) {
    return "built without CUDA: reinstall with MEMCORE_CUDA=1 and nvcc 12.4 or later";
}

int64_t memcore_cuda_max_clique_workspace(int, int, int64_t) { return -2; }

int memcore_cuda_max_clique(int, void*, const uint32_t*, int, int64_t, int, int64_t, uint32_t*, int64_t*,
                            void*) {
    return kNoDriver;
}

int64_t memcore_cuda_has_clique_workspace(int, int64_t) { return -1; }

int memcore_cuda_has_clique(int, void*, const uint32_t*, const int32_t*, int, int64_t, int, int64_t, int32_t*,
                            void*) {
    return kNoDriver;
}
