// What module.cpp calls: one init_* per Python-facing part.
#pragma once

#include <pybind11/pybind11.h>

namespace memcore::bind {

void init_unlocked();
void init_isa(pybind11::module_& m);
void init_tiled_l2(pybind11::module_& m);
void init_graph(pybind11::module_& m);
void init_knn(pybind11::module_& m);
void init_sketches(pybind11::module_& m);
void init_cuda(pybind11::module_& m);
void init_clique_call(pybind11::module_& m);

}  // namespace memcore::bind

void init_clique(pybind11::module_& m);
