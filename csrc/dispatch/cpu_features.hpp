// What this CPU and this operating system can run. The only reader of CPUID and XCR0.
#pragma once

namespace memcore {

// One flag an instruction set, named as in instruction_sets.def.
struct CpuFeatures {
#define MEMCORE_ISA(name, panels_table, graph_table, flags) bool name = false;
#include "instruction_sets.def"
};

const CpuFeatures& cpu_features();

}  // namespace memcore
