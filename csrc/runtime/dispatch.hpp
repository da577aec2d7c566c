// One table of kernels per instruction set, chosen once per call in the calling thread and handed to the
// workers.
#pragma once

#include <span>
#include <string_view>

#include "runtime/isa.hpp"

namespace memcore {

// The tables that this build holds and this CPU can run, weakest first. "scalar" is always the first.
std::span<const Isa* const> available_isas();

// nullptr where the name is unknown or the CPU cannot run it.
const Isa* find_isa(std::string_view name);

// The choice for the calling thread: its own override, else MEMCORE_ISA, else the strongest. nullptr where
// MEMCORE_ISA names something that cannot run: the caller turns that into an error, it is never ignored.
const Isa* active_isa();

// Sets the calling thread's override; nullptr removes it.
void set_isa_override(const Isa* isa);
const Isa* isa_override();

// The value of MEMCORE_ISA as it was at first use, or an empty string.
std::string_view requested_isa();

}  // namespace memcore
