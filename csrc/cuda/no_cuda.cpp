#include "cuda/launch.hpp"

namespace memcore::cuda {

Status status() {
    return {false, false, "built without CUDA: reinstall with MEMCORE_CUDA=1 and nvcc 12.4 or later"};
}

}  // namespace memcore::cuda
