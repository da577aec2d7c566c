#include <pybind11/stl.h>

#include <cstring>
#include <vector>

#include "bind/arrays.hpp"
#include "bind/module.hpp"
#include "block_bounds/dense_graph.hpp"

namespace memcore::bind {
namespace {

using block_bounds::Edge;

template <class Sum>
py::array ssd_array(const std::vector<Edge>& edges) {
    py::array_t<Sum> ssd(static_cast<py::ssize_t>(edges.size()));
    Sum* to = ssd.mutable_data();
    for (const Edge& edge : edges) *to++ = static_cast<Sum>(edge.ssd);
    return ssd;
}

py::tuple to_arrays(const std::vector<Edge>& edges, bool narrow, const py::dict& stats) {
    py::array_t<std::int32_t> pairs({static_cast<py::ssize_t>(edges.size()), py::ssize_t{2}});
    std::int32_t* to = pairs.mutable_data();
    for (const Edge& edge : edges) {
        *to++ = edge.i;
        *to++ = edge.j;
    }
    return py::make_tuple(pairs, narrow ? ssd_array<std::uint32_t>(edges) : ssd_array<std::uint64_t>(edges), stats);
}

py::tuple tiled_l2_graph(const py::array_t<std::uint8_t>& images, long tile_height, long tile_width,
                         std::uint64_t ssd_max, long threads, long min_clique) {
    const Isa& isa = resolve_isa();
    const int workers = check_threads(threads);
    if (images.ndim() != 4) throw py::value_error("images must have shape (N, H, W, C)");
    if (min_clique < 0) throw py::value_error("min_clique must not be negative");
    const ImageSet set = view_images(images, 1);
    const tiled_l2::Grid grid = make_grid(set, nullptr, tile_height, tile_width, 1);
    if (set.images.count > 0x7fffffffU) throw py::value_error("images: more than 2^31 - 1");
    std::vector<Edge> edges;
    {
        const py::gil_scoped_release unlocked;
        edges = block_bounds::dense_graph(*isa.tiled_l2, set.images, grid, ssd_max, workers);
    }
    return to_arrays(edges, grid.tile_bytes() <= tiled_l2::kMaxBytes32, py::dict());
}

}  // namespace

void init_graph(py::module_& m) {
    m.def("tiled_l2_graph", &tiled_l2_graph, py::arg("images").noconvert(), py::arg("tile_h"), py::arg("tile_w"),
          py::arg("ssd_max"), py::arg("threads") = 0, py::arg("min_clique") = 0);
}

}  // namespace memcore::bind
