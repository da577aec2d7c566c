#include <cstdint>
#include <string>

#include "bind/module.hpp"
#include "bind/unlocked.hpp"
#include "cuda/memcore_cuda.h"

namespace memcore::bind {
namespace {

// Whether this build holds the CUDA part, and whether a driver with a device answered; if not, why.
pybind11::dict status() {
    int devices = 0;
    const int error = memcore_cuda_devices(&devices);
    pybind11::dict answer;
    answer["built"] = memcore_cuda_built() == 1;
    answer["available"] = error == 0 && devices > 0;
    std::string reason;
    if (memcore_cuda_built() == 0) {
        reason = memcore_cuda_error(error);
    } else if (error != 0) {
        reason = "built, but no device answers: " + std::string(memcore_cuda_error(error)) + " (error " +
                 std::to_string(error) + ")";
    } else if (devices == 0) {
        reason = "built, but the driver knows no device";
    }
    answer["reason"] = reason;
    return answer;
}

// Device addresses are integers, as torch.Tensor.data_ptr() and torch.cuda.Stream.cuda_stream give them.
// The caller answers for them; numbers are checked by the CUDA part.
int max_clique(int device, std::uintptr_t stream, std::uintptr_t adjacency, int n, std::int64_t graphs,
               int min_size, std::int64_t node_limit, std::uintptr_t members, std::uintptr_t bounds,
               std::uintptr_t workspace) {
    const Unlocked unlocked;
    return memcore_cuda_max_clique(
        device, reinterpret_cast<void*>(stream), reinterpret_cast<const std::uint32_t*>(adjacency), n, graphs,
        min_size, node_limit, reinterpret_cast<std::uint32_t*>(members),
        reinterpret_cast<std::int64_t*>(bounds), reinterpret_cast<void*>(workspace));
}

int has_clique(int device, std::uintptr_t stream, std::uintptr_t adjacency, std::uintptr_t slots, int n,
               std::int64_t graphs, int min_size, std::int64_t node_limit, std::uintptr_t answers,
               std::uintptr_t workspace) {
    const Unlocked unlocked;
    return memcore_cuda_has_clique(
        device, reinterpret_cast<void*>(stream), reinterpret_cast<const std::uint32_t*>(adjacency),
        reinterpret_cast<const std::int32_t*>(slots), n, graphs, min_size, node_limit,
        reinterpret_cast<std::int32_t*>(answers), reinterpret_cast<void*>(workspace));
}

}  // namespace

void init_cuda(pybind11::module_& m) {
    namespace py = pybind11;
    m.def("cuda_status", &status);
    m.def("cuda_error", &memcore_cuda_error, py::arg("error"));
    m.def("cuda_max_clique_workspace", &memcore_cuda_max_clique_workspace, py::arg("device"), py::arg("n"),
          py::arg("graphs"));
    m.def("cuda_max_clique", &max_clique, py::arg("device"), py::arg("stream"), py::arg("adjacency"),
          py::arg("n"), py::arg("graphs"), py::arg("min_size"), py::arg("node_limit"), py::arg("members"),
          py::arg("bounds"), py::arg("workspace"));
    m.def("cuda_has_clique_workspace", &memcore_cuda_has_clique_workspace, py::arg("n"), py::arg("graphs"));
    m.def("cuda_has_clique", &has_clique, py::arg("device"), py::arg("stream"), py::arg("adjacency"),
          py::arg("slots"), py::arg("n"), py::arg("graphs"), py::arg("min_size"), py::arg("node_limit"),
          py::arg("answers"), py::arg("workspace"));
}

}  // namespace memcore::bind
