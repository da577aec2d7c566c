// The table that one instruction set's translation units fill. Plain C types only: an ISA unit that
// instantiated an inline std:: template would emit a weak copy of it compiled for its own instruction set,
// and the linker may keep that one.
#pragma once

#include "block_bounds/contract.hpp"
#include "tiled_l2/contract.hpp"

namespace memcore {

struct Isa {
    const char* name;
    const tiled_l2::Kernels* tiled_l2;
    const block_bounds::Kernels* block_bounds;
};

}  // namespace memcore
