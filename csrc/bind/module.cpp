#include "bind/module.hpp"

// The name that Python looks for is that of the function at the end of this file, which comes before
// pybind11: in a subinterpreter pybind11 waits for ever for the lock that the thread already holds.
#define PyInit__core memcore_init_core

PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
    m.doc() =
        "The native core of memcore. Its functions are wrapped, checked and documented in the Python "
        "package.";
    memcore::bind::init_unlocked();
    memcore::bind::init_isa(m);
    memcore::bind::init_tiled_l2(m);
    memcore::bind::init_graph(m);
    memcore::bind::init_knn(m);
    memcore::bind::init_sketches(m);
    memcore::bind::init_cuda(m);
    memcore::bind::init_clique_call(m);
    init_clique(m);
}

#undef PyInit__core

extern "C" PYBIND11_EXPORT PyObject* PyInit__core() {
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(
            PyExc_ImportError,
            "memcore cannot be imported in a subinterpreter: its core belongs to the main one. Use "
            "threads, or processes (multiprocessing)");
        return nullptr;
    }
    return memcore_init_core();
}
