#include "arguments/call.hpp"
#include "capi/status.hpp"
#include "runtime/thread_pool.hpp"

using namespace memcore;
using namespace memcore::capi;

extern "C" {

size_t memcore_isa_count(void) { return available_isas().size(); }

const char* memcore_isa_name(size_t index) {
    return index < available_isas().size() ? available_isas()[index]->name : nullptr;
}

memcore_status memcore_isa_active(const char** name) {
    if (name != nullptr) *name = nullptr;
    return guarded([&] {
        check_pointer(name, "name");
        *name = arguments::resolve_isa().name;
    });
}

memcore_status memcore_isa_select(const char* name) {
    return guarded([&] { set_isa_override(name == nullptr ? nullptr : &arguments::resolve_isa(name)); });
}

const char* memcore_isa_selected(void) { return isa_override() == nullptr ? nullptr : isa_override()->name; }

int32_t memcore_usable_cpus(void) { return usable_cpus(); }
}
