// How native code computes while other Python threads run: it gives up the interpreter's lock, looks at
// signals meanwhile, and outlives the interpreter.
#pragma once

#include <Python.h>

#include <optional>

#include "runtime/interrupt.hpp"

namespace memcore::bind {

// Holds the interpreter's lock given up while it exists. In the main thread, which alone handles signals, the
// call ends by Interrupted where a signal's handler raises, as that of Ctrl-C does; the exception is then
// set.
//
// In a thread that finds the interpreter gone it never returns: the process is about to end, and unwinding
// would end it by std::terminate.
class Unlocked {
  public:
    Unlocked();
    ~Unlocked() { lock(); }
    Unlocked(const Unlocked&) = delete;
    Unlocked& operator=(const Unlocked&) = delete;

  private:
    static bool ask(void* unlocked);
    void lock() noexcept;

    PyThreadState* state_ = nullptr;
    std::optional<Interruptible> interruptible_;
};

}  // namespace memcore::bind
