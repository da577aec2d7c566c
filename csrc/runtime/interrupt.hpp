// How a call that computes for long is ended early: by a signal, which the caller's thread looks for, or by a
// flag that any thread sets.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>

namespace memcore {

// Thrown where a call is to end early; what it has computed is discarded.
class Interrupted : public std::exception {
  public:
    const char* what() const noexcept override { return "cancelled"; }
};

// What may end the calls that the thread makes while this exists: it belongs to the scope of one call.
// Threads that help with the call see it too.
class Interruptible {
  public:
    // Called by the thread that made the call, about ten times a second; true ends the call.
    using Ask = bool (*)(void* data);

    Interruptible(Ask ask, void* data) noexcept;
    // Ends calls while the flag is not 0. With nullptr nothing ends them.
    explicit Interruptible(const std::atomic<std::int32_t>* flag) noexcept;
    ~Interruptible();
    Interruptible(const Interruptible&) = delete;
    Interruptible& operator=(const Interruptible&) = delete;

    // Whether the call is to end; asks if it is time to, which only the thread that made the call may do.
    bool poll();
    bool stopped() const {
        return stopped_.load(std::memory_order_relaxed) ||
               (flag_ != nullptr && flag_->load(std::memory_order_relaxed) != 0);
    }

  private:
    void enter() noexcept;

    const Ask ask_ = nullptr;
    void* const data_ = nullptr;
    const std::atomic<std::int32_t>* const flag_ = nullptr;
    std::atomic<bool> stopped_{false};
    std::int64_t next_ms_ = 0;  // when to ask; only of the thread that made the call
    Interruptible* outer_ = nullptr;
    bool outer_owned_ = false;
};

// What the thread works for: its own call, or that of another thread that it helps.
struct Work {
    Interruptible* interruptible = nullptr;
    bool own = false;
};

extern constinit thread_local Work current_work;

// Throws Interrupted where the call that the thread works for is to end. Costs a few nanoseconds: to be
// called wherever a millisecond may have gone by, and not for each element.
inline void check_interrupt() {
    const Work work = current_work;
    if (work.interruptible == nullptr) return;
    if (work.own ? work.interruptible->poll() : work.interruptible->stopped()) throw Interrupted();
}

// Looks for interrupts once in 65,536 steps of a loop, and not in a short one.
inline void check_interrupt_at(std::size_t step) {
    constexpr std::size_t kBetweenChecks = 1 << 16;
    if ((step + 1) % kBetweenChecks == 0) check_interrupt();
}

// Visits elements in their order, and looks for interrupts between some: for serial work on many.
template <class Elements, class Visit>
void visit_each(const Elements& elements, Visit&& visit) {
    constexpr std::size_t kBetweenChecks = 1 << 16;
    for (std::size_t first = 0; first < elements.size(); first += kBetweenChecks) {
        check_interrupt();
        const std::size_t end = std::min(elements.size(), first + kBetweenChecks);
        for (std::size_t n = first; n < end; ++n) visit(elements[n]);
    }
}

}  // namespace memcore
