#include "clique/max_clique.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include "arguments/edges.hpp"
#include "bind/arrays.hpp"
#include "bind/module.hpp"
#include "bind/unlocked.hpp"

namespace memcore::bind {
namespace {

using arguments::check_edges;
using arguments::check_min_size;
using arguments::check_n;
using arguments::check_node_limit;
using clique::Clique;
using clique::EdgeList;
using Edges = py::array_t<std::int32_t, py::array::c_style>;
using Answer = std::tuple<std::vector<int>, int, int, bool, std::int64_t>;

Answer answer(Clique&& found) {
    return {std::move(found.members), found.lower, found.upper, found.proven, found.nodes};
}

std::vector<Answer> answers(std::vector<Clique>&& found) {
    std::vector<Answer> all;
    all.reserve(found.size());
    for (Clique& clique : found) all.push_back(answer(std::move(clique)));
    return all;
}

// Python's objects for answers. A million of them take seconds, in which Ctrl-C is to work as well.
py::list to_list(std::vector<Answer>&& found) {
    constexpr std::size_t kBetweenChecks = 1 << 12;
    py::list all(found.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
        if (i % kBetweenChecks == 0 && PyErr_CheckSignals() != 0) throw py::error_already_set();
        all[i] = py::cast(std::move(found[i]));
    }
    return all;
}

const std::int32_t* check_shape(const Edges& edges) {
    if (edges.ndim() != 2 || edges.shape(1) != 2) throw py::value_error("edges must have shape (E, 2)");
    return edges.data();
}

Answer max_clique(std::int64_t n, const Edges& edges, std::int64_t node_limit) {
    check_node_limit(node_limit);
    const EdgeList list{check_n(n), check_shape(edges), edges.shape(0)};
    const Unlocked unlocked;
    check_edges(list);
    return answer(clique::max_clique(list, node_limit));
}

Answer max_clique_adjacency(const py::array& adjacency, std::int64_t node_limit) {
    check_node_limit(node_limit);
    if (adjacency.ndim() != 2 || adjacency.shape(0) != adjacency.shape(1)) {
        throw py::value_error("adjacency must have shape (n, n)");
    }
    if (!py::isinstance<py::array_t<bool>>(adjacency) &&
        !py::isinstance<py::array_t<std::uint8_t>>(adjacency)) {
        throw py::type_error("adjacency must be bool or uint8");
    }
    if ((adjacency.flags() & py::array::c_style) == 0)
        throw py::value_error("adjacency must be C-contiguous");
    const int n = check_n(adjacency.shape(0));
    const auto* const matrix = static_cast<const std::uint8_t*>(adjacency.data());
    const Unlocked unlocked;
    const std::vector<std::int32_t> edges = clique::list_edges(matrix, n);
    return answer(
        clique::max_clique({n, edges.data(), static_cast<std::int64_t>(edges.size() / 2)}, node_limit));
}

// The cliques, and the largest that one among the vertices left could be.
py::tuple find_cliques(std::int64_t n, const Edges& edges, std::int64_t min_size, std::int64_t node_limit) {
    check_node_limit(node_limit);
    const EdgeList list{check_n(n), check_shape(edges), edges.shape(0)};
    const int size = check_min_size(min_size);
    Clique rest;
    std::vector<Answer> found;
    {
        const Unlocked unlocked;
        check_edges(list);
        found = answers(clique::find_cliques(list, size, node_limit, &rest));
    }
    return py::make_tuple(to_list(std::move(found)), rest.upper);
}

py::list max_cliques(const py::array_t<std::int32_t, py::array::c_style>& sizes,
                     const py::array_t<std::int64_t, py::array::c_style>& offsets, const Edges& edges,
                     std::int64_t node_limit, long threads, std::int64_t min_size) {
    check_node_limit(node_limit);
    const int workers = check_threads(threads);
    const int size = check_min_size(min_size);
    const std::int32_t* const data = check_shape(edges);
    if (sizes.ndim() != 1) throw py::value_error("sizes must have shape (G,)");
    if (offsets.ndim() != 1 || offsets.shape(0) != sizes.shape(0) + 1) {
        throw py::value_error("offsets must have shape (G + 1,)");
    }
    const std::int32_t* const vertices = sizes.data();
    const std::int64_t* const begin = offsets.data();
    const auto count = static_cast<std::size_t>(sizes.shape(0));
    const std::int64_t edge_count = edges.shape(0);
    std::vector<Answer> found;
    {
        const Unlocked unlocked;
        const std::vector<EdgeList> graphs = arguments::make_graphs(vertices, begin, count, data, edge_count);
        found = answers(clique::max_cliques(graphs, node_limit, size, workers));
    }
    return to_list(std::move(found));
}

}  // namespace
}  // namespace memcore::bind

void init_clique(pybind11::module_& m) {
    namespace py = pybind11;
    using namespace memcore::bind;
    m.def("max_clique", &max_clique, py::arg("n"), py::arg("edges").noconvert(), py::arg("node_limit"));
    m.def("max_clique_adjacency", &max_clique_adjacency, py::arg("adjacency"), py::arg("node_limit"));
    m.def("find_cliques", &find_cliques, py::arg("n"), py::arg("edges").noconvert(), py::arg("min_size"),
          py::arg("node_limit"));
    m.def("max_cliques", &max_cliques, py::arg("sizes").noconvert(), py::arg("offsets").noconvert(),
          py::arg("edges").noconvert(), py::arg("node_limit"), py::arg("threads"), py::arg("min_size") = 0);
}
