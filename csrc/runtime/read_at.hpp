// Reads of a file at an offset, by many threads at once.
#pragma once

#include <cstddef>
#include <cstdint>

namespace memcore {

// Reads `bytes` bytes at `offset` of an open file and returns how many there were: fewer only where it ends.
// Throws std::system_error where it cannot be read.
std::size_t read_at(int descriptor, void* to, std::size_t bytes, std::uint64_t offset);

}  // namespace memcore
