// What the rest of the core may ask of the CUDA part. no_cuda.cpp has the same symbols for builds without it,
// so that nothing else needs an #ifdef.
#pragma once

namespace memcore::cuda {

struct Status {
    bool built;          // this build holds the CUDA part
    bool available;      // and a driver with a device answered
    const char* reason;  // why not, in words; empty where available
};

Status status();

}  // namespace memcore::cuda
