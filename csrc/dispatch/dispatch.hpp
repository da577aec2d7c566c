// One table of kernels per instruction set. The calling thread chooses it once per call and hands it to the
// workers.
#pragma once

#include <span>
#include <string_view>

#include "graph/kernel_tables.hpp"
#include "panels/contract.hpp"

namespace memcore {

struct Isa {
    const char* name;
    const panels::Kernels* panels;
    const graph::Kernels* bounds;

    graph::KernelTables tables() const { return {.panels = panels, .bounds = bounds}; }
};

// The instruction sets that this build holds and this CPU can run, weakest first. "scalar" is always the
// first.
std::span<const Isa* const> available_isas();

// Returns nullptr where the name is unknown or the CPU cannot run it.
const Isa* find_isa(std::string_view name);

// The choice for the calling thread: its own override, else MEMCORE_ISA, else the strongest. nullptr where
// MEMCORE_ISA names something that cannot run: the caller turns that into an error, it is never ignored.
const Isa* active_isa();

// Sets the calling thread's override; nullptr removes it.
void set_isa_override(const Isa* isa);
const Isa* isa_override();

// The value of MEMCORE_ISA at its first use, or an empty string.
std::string_view requested_isa();

}  // namespace memcore
