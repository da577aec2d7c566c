#include "bind/module.hpp"

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
