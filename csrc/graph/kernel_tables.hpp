// The kernels of one instruction set that a graph needs.
#pragma once

#include "graph/contract.hpp"
#include "panels/contract.hpp"

namespace memcore::graph {

struct KernelTables {
    const panels::Kernels* panels;  // distances
    const Kernels* bounds;          // block sums and bounds
};

}  // namespace memcore::graph
