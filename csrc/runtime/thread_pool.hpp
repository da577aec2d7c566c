// Our own threads: no OpenMP, whose pools break after fork and clash with the caller's.
#pragma once

#include <cstddef>
#include <functional>

namespace memcore {

// CPUs that the calling thread may run on (sched_getaffinity where there is one).
int usable_cpus();

// Calls work(unit, worker) once for each unit in [0, units), on at most `threads` threads (0: all usable
// CPUs), the caller being worker 0. worker < the number that `worker_count` gives. Units are handed out in
// ascending order. Returns when all are done; the first exception that a unit threw is thrown again here, and
// the units not yet started are dropped. Between units, and while it waits for its helpers, it looks whether
// the call is to end (runtime/interrupt.hpp), and throws Interrupted. May be called from many threads at
// once, from within a unit, and in a child after fork.
void parallel_for(std::size_t units, int threads,
                  const std::function<void(std::size_t unit, std::size_t worker)>& work);

// Returns how many workers parallel_for will use: never more than there are units.
std::size_t worker_count(std::size_t units, int threads);

}  // namespace memcore
