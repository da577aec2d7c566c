#include <atomic>
#include <memory>

#include "capi/status.hpp"

struct memcore_cancel {
    std::atomic<std::int32_t> set{0};
};

static_assert(std::atomic<std::int32_t>::is_always_lock_free);  // else no signal handler could set it

namespace memcore::capi {
namespace {

thread_local const memcore_cancel* used = nullptr;

}  // namespace

const std::atomic<std::int32_t>* cancel_flag() noexcept { return used == nullptr ? nullptr : &used->set; }

}  // namespace memcore::capi

using namespace memcore::capi;

extern "C" {

memcore_status memcore_cancel_new(memcore_cancel** cancel) {
    if (cancel != nullptr) *cancel = nullptr;
    return guarded([&] {
        check_pointer(cancel, "cancel");
        *cancel = std::make_unique<memcore_cancel>().release();
    });
}

memcore_status memcore_cancel_use(memcore_cancel* cancel) {
    used = cancel;
    return MEMCORE_OK;
}

void memcore_cancel_set(memcore_cancel* cancel, int32_t set) {
    if (cancel != nullptr) cancel->set.store(set != 0 ? 1 : 0, std::memory_order_relaxed);
}

int32_t memcore_cancel_is_set(const memcore_cancel* cancel) {
    return cancel == nullptr ? 0 : cancel->set.load(std::memory_order_relaxed);
}

void memcore_cancel_free(memcore_cancel* cancel) {
    if (used == cancel) used = nullptr;
    delete cancel;
}
}
