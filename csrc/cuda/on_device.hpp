// What host code of .cu files shares.
#pragma once

#include "cuda/device.hpp"
//
#include <cstdint>

#include "cuda/memcore_cuda.h"

namespace memcore::cuda {

// The device that a call names is the current one for as long as this lives.
class OnDevice {
  public:
    explicit OnDevice(int device) {
        error_ = cudaGetDevice(&before_);
        if (error_ == cudaSuccess && before_ != device) {
            error_ = cudaSetDevice(device);
            changed_ = error_ == cudaSuccess;
        }
    }
    ~OnDevice() {
        if (changed_) static_cast<void>(cudaSetDevice(before_));
    }
    OnDevice(const OnDevice&) = delete;
    OnDevice& operator=(const OnDevice&) = delete;
    cudaError_t error() const { return error_; }

  private:
    int before_ = 0;
    bool changed_ = false;
    cudaError_t error_;
};

inline bool in_range(int n, int64_t graphs) {
    return n >= 0 && n <= MEMCORE_CUDA_MAX_VERTICES && graphs >= 0 && graphs <= static_cast<int64_t>(1) << 40;
}

}  // namespace memcore::cuda
