#include "bind/module.hpp"
#include "cuda/launch.hpp"

namespace memcore::bind {

void init_cuda(pybind11::module_& m) {
    m.def("cuda_status", [] {
        const cuda::Status status = cuda::status();
        pybind11::dict answer;
        answer["built"] = status.built;
        answer["available"] = status.available;
        answer["reason"] = status.reason;
        return answer;
    });
}

}  // namespace memcore::bind
