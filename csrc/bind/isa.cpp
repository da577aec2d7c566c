#include <pybind11/stl.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "bind/arrays.hpp"
#include "bind/module.hpp"
#include "bind/unlocked.hpp"
#include "runtime/thread_pool.hpp"

namespace memcore::bind {
namespace {

std::vector<std::string> available() {
    std::vector<std::string> names;
    for (const Isa* isa : available_isas()) names.emplace_back(isa->name);
    return names;
}

void set(const std::optional<std::string>& name) {
    set_isa_override(name ? &arguments::resolve_isa(*name) : nullptr);
}

std::optional<std::string> override_name() {
    const Isa* isa = isa_override();
    return isa == nullptr ? std::nullopt : std::optional<std::string>(isa->name);
}

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double multiply_add_peak(std::uint64_t iterations) {
    const Isa& isa = resolve_isa();
    const Unlocked unlocked;
    const auto start = std::chrono::steady_clock::now();
    const std::uint64_t products = isa.panels->peak_products(iterations);
    return static_cast<double>(products) / seconds_since(start);
}

double read_bandwidth(const py::array_t<std::uint8_t, py::array::c_style>& array) {
    const Isa& isa = resolve_isa();
    const std::uint8_t* data = array.data();
    const auto bytes = static_cast<std::size_t>(array.nbytes());
    const Unlocked unlocked;
    const auto start = std::chrono::steady_clock::now();
    const volatile std::uint64_t sum = isa.panels->read_bytes(data, bytes);
    (void)sum;
    return static_cast<double>(bytes) / seconds_since(start);
}

}  // namespace

void init_isa(py::module_& m) {
    m.def("isa_available", &available);
    m.def("isa_active", [] { return std::string(resolve_isa().name); });
    m.def("isa_set", &set, py::arg("name").none(true));
    m.def("isa_override", &override_name);
    m.def("usable_cpus", &usable_cpus);
    m.def("multiply_add_peak", &multiply_add_peak, py::arg("iterations"));
    m.def("read_bandwidth", &read_bandwidth, py::arg("array").noconvert());
}

}  // namespace memcore::bind
