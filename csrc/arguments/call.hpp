// Checks of what every call takes: an instruction set and a number of threads.
#pragma once

#include <cstdint>

#include "dispatch/dispatch.hpp"

namespace memcore::arguments {

// The calling thread's table; throws where MEMCORE_ISA names something that cannot run.
const Isa& resolve_isa();

// The table of that name; throws where it is unknown or the CPU lacks it.
const Isa& resolve_isa(std::string_view name);

int check_threads(std::int64_t threads);

}  // namespace memcore::arguments
