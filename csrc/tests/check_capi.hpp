// Checks of the status and the message of a call of the C ABI that must fail.
#pragma once

#include <cstring>

#include "check.hpp"
#include "include/memcore.h"

namespace memcore::tests {

inline bool failed_with(memcore_status got, memcore_status wanted, const char* words) {
    if (got == wanted && std::strstr(memcore_last_error(), words) != nullptr) return true;
    std::fprintf(stderr, "got %s: %s\nwanted %s: %s\n", memcore_status_name(got), memcore_last_error(),
                 memcore_status_name(wanted), words);
    return false;
}

#define CHECK_FAILS(call, status, words) CHECK(failed_with((call), (status), (words)))

}  // namespace memcore::tests
