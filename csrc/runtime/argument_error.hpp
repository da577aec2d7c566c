// The error for a wrong argument, thrown before any work is done. arguments/ throws it, and so does graph/
// where new images must fit earlier ones. bind/ turns it into ValueError, capi/ into a status.
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
