#include "runtime/thread_pool.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

#include "runtime/interrupt.hpp"

#if defined(_WIN32)
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <windows.h>
#else
#include <unistd.h>
#endif
#if defined(__linux__)
#include <sched.h>
#elif defined(__APPLE__)
#include <dlfcn.h>
#endif

namespace memcore {
namespace {

#if defined(_WIN32)
using ProcessId = int;
ProcessId process_id() { return 0; }  // there is no fork
#else
using ProcessId = pid_t;
ProcessId process_id() { return getpid(); }
#endif

// The pool's threads wait for ever, so the library that contains their code must never be unloaded. On Linux
// the linker says so (-z nodelete).
void keep_loaded() {
#if defined(_WIN32)
    HMODULE module;
    GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS,
                       reinterpret_cast<LPCWSTR>(&keep_loaded), &module);
#elif defined(__APPLE__)
    Dl_info info;
    if (dladdr(reinterpret_cast<const void*>(&keep_loaded), &info) != 0)
        dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
#endif
}

#if defined(__linux__)

// The CPU set of a thread. Workers adopt the CPU set of the caller of each job: a pool made by a pinned
// thread would otherwise stay on that thread's CPU for ever.
struct Affinity {
    cpu_set_t set;
    bool known;

    static Affinity current() {
        Affinity a;
        CPU_ZERO(&a.set);
        a.known = sched_getaffinity(0, sizeof(a.set), &a.set) == 0;
        return a;
    }
    int count() const { return known ? CPU_COUNT(&set) : 0; }
    void apply(Affinity& held) const {
        if (!known || (held.known && CPU_EQUAL(&set, &held.set))) return;
        if (sched_setaffinity(0, sizeof(set), &set) == 0) held = *this;
    }
};

#else

struct Affinity {
    static Affinity current() { return {}; }
    int count() const { return static_cast<int>(std::thread::hardware_concurrency()); }
    void apply(Affinity&) const {}
};

#endif

// One parallel_for. It lives on the caller's stack: the caller leaves only when `open` is 0 and the job is
// off the queue.
struct Job {
    Job(const std::function<void(std::size_t, std::size_t)>& unit_work, std::size_t unit_count)
        : work(&unit_work), units(unit_count) {}

    const std::function<void(std::size_t, std::size_t)>* const work;
    const std::size_t units;
    const Affinity affinity = Affinity::current();
    Interruptible* const interruptible = current_work.interruptible;
    std::atomic<std::size_t> next_unit{0};
    std::size_t next_worker = 1;   // guarded by Pool::mutex
    std::size_t worker_limit = 1;  // guarded by Pool::mutex
    std::size_t open = 0;          // workers inside; guarded by Pool::mutex
    std::exception_ptr error;      // guarded by Pool::mutex
    std::condition_variable left;

    void run(std::size_t worker, std::mutex& mutex) {
        for (;;) {
            const std::size_t unit = next_unit.fetch_add(1, std::memory_order_relaxed);
            if (unit >= units) return;
            try {
                check_interrupt();
                (*work)(unit, worker);
            } catch (...) {
                next_unit.store(units, std::memory_order_relaxed);
                const std::lock_guard lock(mutex);
                if (!error) error = std::current_exception();
                return;
            }
        }
    }
};

class Pool {
  public:
    explicit Pool(ProcessId pid) : pid_(pid) {}
    ProcessId pid() const { return pid_; }

    void run(Job& job, std::size_t workers) {
        {
            const std::lock_guard lock(mutex_);
            job.worker_limit = workers;
            jobs_.push_back(&job);
            grow(workers - 1);
        }
        wake_.notify_all();
        job.run(0, mutex_);
        std::unique_lock lock(mutex_);
        std::erase(jobs_, &job);  // no further worker may enter
        wait_for_helpers(job, lock);
    }

  private:
    // Meanwhile what may end the call is looked at: the helpers then leave their units early.
    static void wait_for_helpers(Job& job, std::unique_lock<std::mutex>& lock) {
        constexpr std::chrono::milliseconds kBetweenLooks{20};
        const auto done = [&] { return job.open == 0; };
        if (!current_work.own) return job.left.wait(lock, done);
        while (!job.left.wait_for(lock, kBetweenLooks, done)) {
            lock.unlock();  // a signal's handler may take long, and may compute
            current_work.interruptible->poll();
            lock.lock();
        }
    }

    // Callers that overlap share the threads; one call never asks for more than its own limit.
    void grow(std::size_t helpers) {
        for (; started_ < helpers; ++started_) {
            try {
                std::thread([this] { serve(); }).detach();
            } catch (const std::system_error&) {
                return;  // the system has no more threads: the caller does the work itself
            }
        }
    }

    Job* open_job() {
        for (Job* job : jobs_) {
            if (job->next_worker < job->worker_limit &&
                job->next_unit.load(std::memory_order_relaxed) < job->units)
                return job;
        }
        return nullptr;
    }

    void serve() {
        Affinity held = Affinity::current();
        std::unique_lock lock(mutex_);
        for (;;) {
            Job* job = nullptr;
            wake_.wait(lock, [&] { return (job = open_job()) != nullptr; });
            const std::size_t worker = job->next_worker++;
            ++job->open;
            lock.unlock();
            job->affinity.apply(held);
            current_work = {job->interruptible, false};
            job->run(worker, mutex_);
            current_work = {};
            lock.lock();
            if (--job->open == 0) job->left.notify_all();
        }
    }

    const ProcessId pid_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<Job*> jobs_;
    std::size_t started_ = 0;
};

// The pool is never destroyed: its threads may outlive main. After fork the child has none of the threads and
// perhaps a locked mutex, so it leaves the old pool alone and makes its own.
Pool& pool() {
    static std::atomic<Pool*> current{nullptr};
    const ProcessId pid = process_id();
    Pool* seen = current.load(std::memory_order_acquire);
    while (seen == nullptr || seen->pid() != pid) {
        keep_loaded();
        Pool* made = new Pool(pid);
        if (current.compare_exchange_strong(seen, made, std::memory_order_acq_rel)) return *made;
        delete made;
    }
    return *seen;
}

}  // namespace

int usable_cpus() { return std::max(1, Affinity::current().count()); }

std::size_t worker_count(std::size_t units, int threads) {
    const int wanted = threads > 0 ? threads : usable_cpus();
    return std::max<std::size_t>(1, std::min<std::size_t>(units, static_cast<std::size_t>(wanted)));
}

void parallel_for(std::size_t units, int threads, const std::function<void(std::size_t, std::size_t)>& work) {
    const std::size_t workers = worker_count(units, threads);
    if (workers == 1) {
        for (std::size_t unit = 0; unit < units; ++unit) {
            check_interrupt();
            work(unit, 0);
        }
        return;
    }
    Job job(work, units);
    pool().run(job, workers);
    if (job.error) std::rethrow_exception(job.error);
    check_interrupt();  // it may have been asked for while the last helpers finished
}

}  // namespace memcore
