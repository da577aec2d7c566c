// The border that no exception crosses.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <string>

#include "include/memcore.h"
#include "runtime/argument_error.hpp"
#include "runtime/interrupt.hpp"

namespace memcore::capi {

// Keeps the text for memcore_last_error and returns the status for the exception.
memcore_status fail(std::exception_ptr error) noexcept;

// The flag that ends the calling thread's calls, or nullptr.
const std::atomic<std::int32_t>* cancel_flag() noexcept;

// Runs the body of a function of the C ABI.
template <class Body>
memcore_status guarded(Body&& body) noexcept {
    try {
        const Interruptible interruptible(cancel_flag());
        body();
        return MEMCORE_OK;
    } catch (...) {
        return fail(std::current_exception());
    }
}

// Throws where the pointer is NULL.
void check_pointer(const void* pointer, const char* name);

// Throws unless the structure is the one that this library knows.
void check_struct_size(std::size_t got, std::size_t wanted, const char* type);

// a * b; throws where it does not fit.
std::size_t product(std::size_t a, std::size_t b, const char* what);

// Throws unless an array of `rows` x `columns` elements fits the capacity that the caller gave.
void check_capacity(std::size_t capacity, std::size_t rows, std::size_t columns, const char* name);

}  // namespace memcore::capi
