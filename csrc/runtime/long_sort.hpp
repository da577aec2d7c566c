// std::sort for many elements: in parts that are merged, since one call could not be ended early. Merges look
// for interrupts while they compare.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "runtime/interrupt.hpp"

namespace memcore {

// Elements that compare equal must be equal: their order is not kept.
template <class Iterator, class Less>
void long_sort(Iterator first, Iterator last, Less less) {
    using Distance = typename std::iterator_traits<Iterator>::difference_type;
    constexpr Distance kPart = 1 << 17;  // a hundredth of a second
    constexpr std::uint32_t kBetweenChecks = 1 << 16;
    const Distance count = last - first;
    const auto at = [&](Distance n) { return first + std::min(n, count); };
    for (Distance n = 0; n < count; n += kPart) {
        check_interrupt();
        std::sort(at(n), at(n + kPart), less);
    }
    std::uint32_t compared = 0;
    const auto less_and_look = [&](const auto& a, const auto& b) {
        if (++compared % kBetweenChecks == 0) check_interrupt();
        return less(a, b);
    };
    for (Distance width = kPart; width < count; width *= 2) {
        for (Distance n = 0; n + width < count; n += 2 * width) {
            check_interrupt();
            std::inplace_merge(at(n), at(n + width), at(n + 2 * width), less_and_look);
        }
    }
}

}  // namespace memcore
