#include "runtime/interrupt.hpp"

#if defined(__linux__)
#include <ctime>
#else
#include <chrono>
#endif

namespace memcore {
namespace {

constexpr std::int64_t kBetweenAsksMs = 100;

// Milliseconds of a clock that never goes back. To within a tick of the system is enough, and a quarter of
// the time.
std::int64_t now_ms() {
#if defined(__linux__)
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return static_cast<std::int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1'000'000;
#else
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
#endif
}

}  // namespace

constinit thread_local Work current_work;

Interruptible::Interruptible(Ask ask, void* data) noexcept : ask_(ask), data_(data) { enter(); }

Interruptible::Interruptible(const std::atomic<std::int32_t>* flag) noexcept : flag_(flag) { enter(); }

void Interruptible::enter() noexcept {
    outer_ = current_work.interruptible;
    outer_owned_ = current_work.own;
    current_work = ask_ == nullptr && flag_ == nullptr ? Work{} : Work{this, true};
}

Interruptible::~Interruptible() { current_work = {outer_, outer_owned_}; }

bool Interruptible::poll() {
    if (stopped()) return true;
    if (ask_ == nullptr) return false;
    const std::int64_t now = now_ms();
    if (next_ms_ == 0) next_ms_ = now + kBetweenAsksMs;  // most calls end before
    if (now < next_ms_) return false;
    if (ask_(data_)) {
        stopped_.store(true, std::memory_order_relaxed);
        return true;
    }
    next_ms_ = now_ms() + kBetweenAsksMs;
    return false;
}

}  // namespace memcore
