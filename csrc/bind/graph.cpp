#include <pybind11/stl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <system_error>
#include <vector>

#include "bind/arrays.hpp"
#include "bind/module.hpp"
#include "bind/unlocked.hpp"
#include "graph/features.hpp"
#include "graph/graph.hpp"
#include "runtime/read_at.hpp"

namespace memcore::bind {
namespace {

using graph::Edge;

template <class Sum>
py::tuple make_arrays(const std::vector<Edge>& edges, const py::dict& stats) {
    const auto count = static_cast<py::ssize_t>(edges.size());
    py::array_t<std::int32_t> pairs({count, py::ssize_t{2}});
    py::array_t<Sum> ssd(count);
    std::int32_t* pair = pairs.mutable_data();
    Sum* sum = ssd.mutable_data();
    for (const Edge& edge : edges) {
        *pair++ = edge.i;
        *pair++ = edge.j;
        *sum++ = static_cast<Sum>(edge.ssd);
    }
    return py::make_tuple(pairs, ssd, stats);
}

py::tuple to_arrays(const std::vector<Edge>& edges, bool narrow, const py::dict& stats) {
    return narrow ? make_arrays<std::uint32_t>(edges, stats) : make_arrays<std::uint64_t>(edges, stats);
}

py::dict to_dict(const graph::Stats& stats) {
    py::dict d;
    d["pairs"] = stats.pairs;
    d["candidates"] = stats.candidates;
    d["core"] = stats.core;
    d["certain"] = stats.certain;
    d["by_pivots"] = stats.by_pivots;
    d["tiles_checked"] = stats.tiles_checked;
    d["features_images"] = stats.features_images;
    d["dense_images"] = stats.dense_images;
    d["dense"] = stats.dense;
    d["features_s"] = stats.features_s;
    d["bounds_s"] = stats.bounds_s;
    d["verify_s"] = stats.verify_s;
    return d;
}

// The features of a prompt's images, which PromptGraph.extend appends to: images are copied and their
// features computed while each is in the cache.
class Features {
  public:
    Features(long tile_height, long tile_width, std::size_t expected)
        : tile_height_(tile_height), tile_width_(tile_width), features_(expected) {}

    void append(const py::array_t<std::uint8_t>& images, long threads,
                std::optional<py::array_t<std::uint8_t>> copies) {
        const graph::KernelTables kernels = resolve_isa().tables();
        const int workers = check_threads(threads);
        if (images.ndim() != 4) throw py::value_error("images must have shape (N, H, W, C)");
        const ImageSet set = view_images(images, 1);
        const graph::Shape shape = make_shape(set, make_grid(set, nullptr, tile_height_, tile_width_, 1));
        std::uint8_t* to = copies ? check_copies(*copies, images) : nullptr;
        const Unlocked unlocked;
        features_.append(kernels, set.images, shape, workers, to);
    }

    // Appends one image (H, W, C), without the cost of a batch: it is called for each image that is decoded.
    // Returns false where its pixels are all equal: then nothing is appended or copied.
    bool append_one(const py::array_t<std::uint8_t, py::array::c_style>& image,
                    std::optional<py::array_t<std::uint8_t>> copy) {
        const graph::KernelTables kernels = resolve_isa().tables();
        if (image.ndim() != 3 || image.size() == 0) throw py::value_error("image must have shape (H, W, C)");
        const auto length = [&](py::ssize_t axis) { return static_cast<std::size_t>(image.shape(axis)); };
        const ImageSet set = dense_images(image.data(), 1, length(0), length(1), length(2));
        const graph::Shape shape = make_shape(set, make_grid(set, nullptr, tile_height_, tile_width_, 1));
        std::uint8_t* const to = copy ? check_copies(*copy, image) : nullptr;
        const std::size_t channels = length(2), others = static_cast<std::size_t>(image.size()) - channels;
        const std::uint8_t* const pixels = image.data();
        const Unlocked unlocked;
        if (std::memcmp(pixels, pixels + channels, others) == 0) return false;
        features_.append(kernels, set.images, shape, 1, to);
        return true;
    }

    // Appends images (height, width, channels) that follow one another in an open file, and keeps none.
    // Returns for each whole image whether it is constant, and so left out.
    py::array_t<bool> read(int descriptor, std::uint64_t offset, std::size_t count, std::size_t height,
                           std::size_t width, std::size_t channels, long threads) {
        const graph::KernelTables kernels = resolve_isa().tables();
        const int workers = check_threads(threads);
        if (static_cast<double>(height) * static_cast<double>(width) * static_cast<double>(channels) > 0x1p40)
            throw py::value_error("images must have at most 2^40 bytes");
        const ImageSet set = dense_images(nullptr, count, height, width, channels);
        const graph::Shape shape = make_shape(set, make_grid(set, nullptr, tile_height_, tile_width_, 1));
        const std::size_t bytes = height * width * channels;
        std::vector<std::uint8_t> constant;
        int trouble = 0;
        {
            const Unlocked unlocked;
            try {
                features_.append_read(
                    kernels, set.images, shape, count, workers,
                    [&](std::size_t i, std::uint8_t* to) {
                        return read_at(descriptor, to, bytes, offset + i * bytes) == bytes;
                    },
                    constant);
            } catch (const std::system_error& error) {
                trouble = error.code().value();
            }
        }
        if (trouble != 0) {
            errno = trouble;
            PyErr_SetFromErrno(PyExc_OSError);
            throw py::error_already_set();
        }
        py::array_t<bool> answer(static_cast<py::ssize_t>(constant.size()));
        std::copy(constant.begin(), constant.end(), answer.mutable_data());
        return answer;
    }

    // Returns the pairs that bounds leave, without reading any image.
    graph::Candidates screen(std::uint64_t ssd_max, long threads, std::size_t since) {
        const graph::KernelTables kernels = resolve_isa().tables();
        graph::Request request;
        request.ssd_max = ssd_max;
        request.since = since;
        request.threads = check_threads(threads);
        const Unlocked unlocked;
        return features_.screen(kernels, request);
    }

    // Decides them. Image i is images[places[i]] if a pair needs it; other entries of places may be any.
    py::tuple decide(const graph::Candidates& left, const py::array_t<std::uint8_t>& images,
                     const py::array_t<std::uint32_t, py::array::c_style>& places) {
        const graph::KernelTables kernels = resolve_isa().tables();
        if (images.ndim() != 4) throw py::value_error("images must have shape (N, H, W, C)");
        if (places.ndim() != 1 || static_cast<std::size_t>(places.size()) != left.size)
            throw py::value_error("places must have one number an image");
        ImageSet set = view_images(images, 1);
        const panels::Grid grid = make_grid(set, nullptr, tile_height_, tile_width_, 1);
        const graph::Shape shape = make_shape(set, grid);
        for (const std::int64_t i : left.images) {
            if (places.data()[i] >= set.images.count) throw py::value_error("places lead beyond images");
        }
        set.images.selection = places.data();
        set.images.count = left.size;
        arguments::check_vertices(set);
        graph::Stats stats = left.stats;
        std::vector<Edge> edges;
        {
            const Unlocked unlocked;
            edges = features_.with(shape, left.size, [&](const graph::Pyramid* pyramid) {
                return graph::decide(kernels, set.images, shape, pyramid, left.screened, left.request, stats);
            });
        }
        return to_arrays(edges, grid.tile_bytes() <= panels::kMaxBytes32, to_dict(stats));
    }

    std::size_t first_mismatch(const py::array_t<std::uint8_t>& images,
                               const py::array_t<std::int64_t, py::array::c_style>& indices, long threads) {
        const graph::KernelTables kernels = resolve_isa().tables();
        const int workers = check_threads(threads);
        if (images.ndim() != 4) throw py::value_error("images must have shape (N, H, W, C)");
        if (indices.ndim() != 1 || indices.size() != images.shape(0))
            throw py::value_error("indices must have one number an image");
        const ImageSet set = view_images(images, 1);
        const graph::Shape shape = make_shape(set, make_grid(set, nullptr, tile_height_, tile_width_, 1));
        const std::vector<std::size_t> places(indices.data(), indices.data() + indices.size());
        const Unlocked unlocked;
        return features_.first_mismatch(kernels, set.images, shape, places, workers);
    }

    const graph::Features& features() const { return features_; }
    std::size_t size() const { return features_.size(); }

  private:
    // Describes images that follow one another, channels last.
    static ImageSet dense_images(const std::uint8_t* data, std::size_t count, std::size_t height,
                                 std::size_t width, std::size_t channels) {
        arguments::Layout layout;
        layout.data = data;
        layout.batches = 1;
        layout.count = count;
        layout.height = height;
        layout.width = width;
        layout.channels = channels;
        layout.channel_stride = 1;
        layout.column_stride = static_cast<std::ptrdiff_t>(channels);
        layout.row_stride = static_cast<std::ptrdiff_t>(channels * width);
        layout.image_stride = static_cast<std::ptrdiff_t>(channels * width * height);
        return arguments::view(layout, 1);
    }

    static std::uint8_t* check_copies(py::array_t<std::uint8_t>& copies, const py::array& images) {
        const bool shape = copies.ndim() == images.ndim() &&
                           std::equal(copies.shape(), copies.shape() + copies.ndim(), images.shape());
        if (!shape) throw py::value_error("copies must have the shape of images");
        if (!(copies.flags() & py::array::c_style)) throw py::value_error("copies must be C-contiguous");
        return copies.mutable_data();  // raises where it is read-only
    }

    const long tile_height_, tile_width_;
    graph::Features features_;
};

py::tuple tiled_l2_graph(const py::array_t<std::uint8_t>& images, long tile_height, long tile_width,
                         std::uint64_t ssd_max, long threads, long min_clique, Features* features, long since,
                         bool sums) {
    const graph::KernelTables kernels = resolve_isa().tables();
    graph::Request request;
    request.threads = check_threads(threads);
    if (images.ndim() != 4) throw py::value_error("images must have shape (N, H, W, C)");
    if (min_clique < 0) throw py::value_error("min_clique must not be negative");
    if (since < 0) throw py::value_error("since must not be negative");
    if (since > 0 && min_clique > 2)
        throw py::value_error("since: the core of a part of the pairs says nothing of cliques");
    request.ssd_max = ssd_max;
    request.sums = sums;
    request.min_clique = static_cast<std::size_t>(min_clique);
    request.since = static_cast<std::size_t>(since);
    const ImageSet set = view_images(images, 1);
    const panels::Grid grid = make_grid(set, nullptr, tile_height, tile_width, 1);
    const graph::Shape shape = make_shape(set, grid);
    arguments::check_vertices(set);
    std::vector<Edge> edges;
    graph::Stats stats;
    {
        const Unlocked unlocked;
        const auto run = [&](const graph::Pyramid* pyramid) {
            return graph::thresholded_graph(kernels, set.images, shape, pyramid, request, stats);
        };
        edges = features == nullptr ? run(nullptr) : features->features().with(shape, set.images.count, run);
    }
    return to_arrays(edges, grid.tile_bytes() <= panels::kMaxBytes32, to_dict(stats));
}

}  // namespace

void init_graph(py::module_& m) {
    py::class_<graph::Candidates>(m, "Candidates")
        .def_property_readonly("images", [](const graph::Candidates& left) {
            return py::array_t<std::int64_t>(static_cast<py::ssize_t>(left.images.size()),
                                             left.images.data());
        });
    py::class_<Features>(m, "Features")
        .def(py::init<long, long, std::size_t>(), py::arg("tile_h"), py::arg("tile_w"),
             py::arg("expected") = 0)
        .def("append", &Features::append, py::arg("images").noconvert(), py::arg("threads") = 1,
             py::arg("copies").noconvert() = py::none())
        .def("append_one", &Features::append_one, py::arg("image").noconvert(),
             py::arg("copy").noconvert() = py::none())
        .def("read", &Features::read, py::arg("descriptor"), py::arg("offset"), py::arg("count"),
             py::arg("height"), py::arg("width"), py::arg("channels"), py::arg("threads") = 1)
        .def("screen", &Features::screen, py::arg("ssd_max"), py::arg("threads") = 1, py::arg("since") = 0)
        .def("decide", &Features::decide, py::arg("candidates"), py::arg("images").noconvert(),
             py::arg("places").noconvert())
        .def("first_mismatch", &Features::first_mismatch, py::arg("images").noconvert(),
             py::arg("indices").noconvert(), py::arg("threads") = 1)
        .def("__len__", &Features::size, py::call_guard<Unlocked>());
    m.def("tiled_l2_graph", &tiled_l2_graph, py::arg("images").noconvert(), py::arg("tile_h"),
          py::arg("tile_w"), py::arg("ssd_max"), py::arg("threads") = 0, py::arg("min_clique") = 0,
          py::arg("features") = nullptr, py::arg("since") = 0, py::arg("sums") = true);
}

}  // namespace memcore::bind
