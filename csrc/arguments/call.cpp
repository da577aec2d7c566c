#include "arguments/call.hpp"

#include <string>

#include "runtime/argument_error.hpp"

namespace memcore::arguments {
namespace {

std::string join_names() {
    std::string names;
    for (const Isa* isa : available_isas()) names += (names.empty() ? "" : ", ") + std::string(isa->name);
    return names;
}

}  // namespace

const Isa& resolve_isa() {
    const Isa* isa = active_isa();
    if (isa == nullptr) {
        throw ArgumentError("MEMCORE_ISA=" + std::string(requested_isa()) +
                                " is unknown or not supported by this CPU; available: " + join_names(),
                            Fault::kIsa);
    }
    return *isa;
}

const Isa& resolve_isa(std::string_view name) {
    const Isa* isa = find_isa(name);
    if (isa == nullptr) {
        throw ArgumentError("instruction set '" + std::string(name.substr(0, 40)) +
                                "' is unknown or not supported by this CPU; available: " + join_names(),
                            Fault::kIsa);
    }
    return *isa;
}

int check_threads(std::int64_t threads) {
    if (threads < 0 || threads > 4096)
        throw ArgumentError("threads must be in [0, 4096], got " + std::to_string(threads));
    return static_cast<int>(threads);
}

}  // namespace memcore::arguments
