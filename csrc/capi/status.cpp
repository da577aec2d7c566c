#include "capi/status.hpp"

#include <cstdio>
#include <new>
#include <stdexcept>

namespace memcore::capi {
namespace {

// Cut to a fixed size, so that saying that memory ran out takes none.
thread_local char last_error[512] = "";

memcore_status to_status(Fault fault) {
    switch (fault) {
        case Fault::kNull:
            return MEMCORE_ERROR_NULL;
        case Fault::kOverflow:
            return MEMCORE_ERROR_OVERFLOW;
        case Fault::kExtent:
            return MEMCORE_ERROR_EXTENT;
        case Fault::kStrides:
            return MEMCORE_ERROR_STRIDES;
        case Fault::kIsa:
            return MEMCORE_ERROR_ISA;
        case Fault::kValue:
            break;
    }
    return MEMCORE_ERROR_VALUE;
}

void keep(const char* text) { std::snprintf(last_error, sizeof(last_error), "%s", text); }

}  // namespace

memcore_status fail(std::exception_ptr error) noexcept {
    try {
        std::rethrow_exception(error);
    } catch (const ArgumentError& e) {
        keep(e.what());
        return to_status(e.fault());
    } catch (const std::bad_alloc&) {
        keep("not enough memory");
        return MEMCORE_ERROR_MEMORY;
    } catch (const std::length_error&) {  // a container that no memory could hold
        keep("not enough memory");
        return MEMCORE_ERROR_MEMORY;
    } catch (const Interrupted&) {
        keep("cancelled: the thread's memcore_cancel is set");
        return MEMCORE_ERROR_CANCELLED;
    } catch (const std::exception& e) {
        keep(e.what());
    } catch (...) {
        keep("an unknown exception");
    }
    return MEMCORE_ERROR_INTERNAL;
}

void check_pointer(const void* pointer, const char* name) {
    if (pointer == nullptr) throw ArgumentError(std::string(name) + " must not be NULL", Fault::kNull);
}

void check_struct_size(std::size_t got, std::size_t wanted, const char* type) {
    if (got == wanted) return;
    throw ArgumentError("struct_size must be sizeof(" + std::string(type) + ") = " + std::to_string(wanted) +
                        ", got " + std::to_string(got) +
                        ": set it, or compile with this library's memcore.h");
}

std::size_t product(std::size_t a, std::size_t b, const char* what) {
    std::size_t answer = 0;
    if (!__builtin_mul_overflow(a, b, &answer)) return answer;
    throw ArgumentError(std::string(what) + ": " + std::to_string(a) + " x " + std::to_string(b) +
                            " does not fit " + std::to_string(8 * sizeof(answer)) + " bits",
                        Fault::kOverflow);
}

void check_capacity(std::size_t capacity, std::size_t rows, std::size_t columns, const char* name) {
    const std::size_t wanted = product(rows, columns, name);
    if (capacity >= wanted) return;
    throw ArgumentError("capacity: " + std::string(name) + " needs " + std::to_string(rows) + " x " +
                            std::to_string(columns) + " = " + std::to_string(wanted) + " elements, got " +
                            std::to_string(capacity),
                        Fault::kExtent);
}

}  // namespace memcore::capi

extern "C" {

const char* memcore_last_error(void) { return memcore::capi::last_error; }

const char* memcore_status_name(memcore_status status) {
    static constexpr const char* kNames[] = {"MEMCORE_OK",
                                             "MEMCORE_ERROR_NULL",
                                             "MEMCORE_ERROR_VALUE",
                                             "MEMCORE_ERROR_OVERFLOW",
                                             "MEMCORE_ERROR_EXTENT",
                                             "MEMCORE_ERROR_STRIDES",
                                             "MEMCORE_ERROR_ISA",
                                             "MEMCORE_ERROR_MEMORY",
                                             "MEMCORE_ERROR_INTERNAL",
                                             "MEMCORE_ERROR_CANCELLED"};
    return status >= 0 && status <= MEMCORE_ERROR_CANCELLED ? kNames[status] : "unknown";
}

const char* memcore_version(void) { return MEMCORE_VERSION; }

int32_t memcore_abi_version(void) { return MEMCORE_ABI_VERSION; }
}
