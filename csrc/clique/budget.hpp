// How much work one answer may cost, in nodes of the search.
#pragma once

#include <cstdint>

#include "runtime/interrupt.hpp"

namespace memcore::clique {

struct Budget {
    std::int64_t limit = 0;
    std::int64_t used = 0;

    bool spent() const { return used >= limit; }
    std::int64_t left() const { return limit - used; }
    // False where nothing is left. Throws where the call is to end.
    bool take() {
        check_interrupt();
        if (spent()) return false;
        ++used;
        return true;
    }
};

// What a search for a set of more than `lower` vertices gave. No such set has more than `upper` vertices, and
// upper >= lower.
//   finished, found      `members` is largest, or has the requested size;
//   finished, not found  there is none: upper == lower;
//   not finished         the budget ran out; what was found is larger than `lower`, but need not be largest.
template <class Members>
struct Outcome {
    Members members;
    bool found = false;
    bool finished = true;
    int upper = 0;
};

}  // namespace memcore::clique
