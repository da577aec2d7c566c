// What is wrong with an argument, before any work: thrown by csrc/arguments/ and where images must fit those
// before them, caught at the borders (bind/ turns it into ValueError, capi/ into a status).
#pragma once

#include <stdexcept>
#include <string>

namespace memcore {

enum class Fault { kValue, kOverflow, kStrides, kIsa, kNull, kExtent };

class ArgumentError : public std::invalid_argument {
  public:
    explicit ArgumentError(const std::string& what, Fault fault = Fault::kValue)
        : std::invalid_argument(what), fault_(fault) {}
    Fault fault() const { return fault_; }

  private:
    Fault fault_;
};

}  // namespace memcore
