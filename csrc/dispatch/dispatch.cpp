#include "dispatch/dispatch.hpp"

#include <cstdlib>
#include <iterator>
#include <string>

#include "dispatch/cpu_features.hpp"

namespace memcore {
namespace {

struct Entry {
    Isa isa;
    bool CpuFeatures::* supported;  // nullptr where every CPU is
};

constexpr Entry kEntries[] = {
    {{.name = "scalar", .panels = &panels::kernels_scalar, .bounds = &graph::kernels_scalar}, nullptr},
#define MEMCORE_ISA(name_, panels_table, graph_table, flags)                                               \
    {{.name = #name_, .panels = &panels::kernels_##panels_table, .bounds = &graph::kernels_##graph_table}, \
     &CpuFeatures::name_},
#include "instruction_sets.def"
};

struct Available {
    const Isa* isas[std::size(kEntries)] = {};
    std::size_t count = 0;

    Available() {
        const CpuFeatures& cpu = cpu_features();
        for (const Entry& entry : kEntries) {
            if (entry.supported == nullptr || cpu.*entry.supported) isas[count++] = &entry.isa;
        }
    }
};

thread_local const Isa* override_of_thread = nullptr;

}  // namespace

std::span<const Isa* const> available_isas() {
    static const Available available;
    return {available.isas, available.count};
}

const Isa* find_isa(std::string_view name) {
    for (const Isa* isa : available_isas()) {
        if (name == isa->name) return isa;
    }
    return nullptr;
}

std::string_view requested_isa() {
    // Never destroyed: threads may compute while the process ends.
    static const std::string* const value = [] {
        const char* text = std::getenv("MEMCORE_ISA");
        return new std::string(text == nullptr ? "" : text);
    }();
    return *value;
}

const Isa* active_isa() {
    if (override_of_thread != nullptr) return override_of_thread;
    static const Isa* const process_wide =
        requested_isa().empty() ? available_isas().back() : find_isa(requested_isa());
    return process_wide;
}

void set_isa_override(const Isa* isa) { override_of_thread = isa; }

const Isa* isa_override() { return override_of_thread; }

}  // namespace memcore
