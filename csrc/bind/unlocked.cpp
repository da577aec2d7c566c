#include "bind/unlocked.hpp"

#include <pybind11/numpy.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <thread>

#include "bind/module.hpp"

namespace memcore::bind {
namespace {

namespace py = pybind11;

// The thread that handles signals; after fork that is the child's only one.
std::atomic<unsigned long> main_thread{0};

}  // namespace

Unlocked::Unlocked() {
    if (PyThread_get_thread_ident() == main_thread.load(std::memory_order_relaxed))
        interruptible_.emplace(&Unlocked::ask, this);
    state_ = PyEval_SaveThread();
}

bool Unlocked::ask(void* unlocked) {
    auto* const self = static_cast<Unlocked*>(unlocked);
    self->lock();
    const bool raised = PyErr_CheckSignals() != 0;
    self->state_ = PyEval_SaveThread();
    return raised;
}

void Unlocked::lock() noexcept {
    try {
        PyEval_RestoreThread(state_);
    } catch (...) {
        // Up to Python 3.13 a thread that asks for the lock of an interpreter that ends is unwound
        // (pthread_exit); later ones wait here as well.
        for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
    }
}

void init_unlocked() {
    // Its first use gives the lock up in pybind11's own way, which a thread does not survive at the end.
    py::detail::npy_api::get();
    main_thread = py::module_::import("threading").attr("main_thread")().attr("ident").cast<unsigned long>();
    const py::module_ os = py::module_::import("os");
    if (py::hasattr(os, "register_at_fork")) {
        os.attr("register_at_fork")(py::arg("after_in_child") =
                                        py::cpp_function([] { main_thread = PyThread_get_thread_ident(); }));
    }
    py::register_local_exception_translator([](std::exception_ptr thrown) {
        try {
            if (thrown) std::rethrow_exception(thrown);
        } catch (const Interrupted&) {
            // the signal's handler has raised already
            if (PyErr_Occurred() == nullptr) PyErr_SetNone(PyExc_KeyboardInterrupt);
        }
    });
}

}  // namespace memcore::bind
