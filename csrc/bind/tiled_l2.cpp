#include "tiled_l2/tiled_l2.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "bind/arrays.hpp"
#include "bind/module.hpp"
#include "bind/unlocked.hpp"
#include "tiled_l2/float_images.hpp"

namespace memcore::bind {
namespace {

using tiled_l2::FloatType;

constexpr py::ssize_t kElementsBetweenChecks = 1 << 20;

template <class Sum>
void run_ssd(const Isa& isa, const ImageSet& a, const ImageSet* other, const panels::Grid& grid, void* out,
             int threads) {
    const std::size_t columns = other == nullptr ? a.images.count : other->images.count;
    tiled_l2::pairwise<Sum>(*isa.panels, a.images, other == nullptr ? nullptr : &other->images, grid,
                            {static_cast<Sum*>(out), a.images.count, columns}, threads);
}

void tiled_l2_ssd(const py::array& images, const std::optional<py::array>& other, long tile_height,
                  long tile_width, py::array out, long threads) {
    const Isa& isa = resolve_isa();
    const int workers = check_threads(threads);
    const ImageSet a = view_images(images, 1);
    std::optional<ImageSet> b;
    if (other) b = view_images(*other, 1);
    const ImageSet* second = b ? &*b : nullptr;
    const panels::Grid grid = make_grid(a, second, tile_height, tile_width, 1);
    const bool narrow = grid.tile_bytes() <= panels::kMaxBytes32;
    const std::size_t size = narrow ? sizeof(std::uint32_t) : sizeof(std::uint64_t);
    check_out(out, a.images.batches, a.images.count, b ? b->images.count : a.images.count, size);
    void* data = out.mutable_data();
    const Unlocked unlocked;
    narrow ? run_ssd<std::uint32_t>(isa, a, second, grid, data, workers)
           : run_ssd<std::uint64_t>(isa, a, second, grid, data, workers);
}

FloatType float_type(const py::array& array, bool bfloat16) {
    const char kind = array.dtype().kind();
    const py::ssize_t size = array.itemsize();
    if (bfloat16) {
        if (kind == 'u' && size == 2) return FloatType::kBfloat16;
        throw py::type_error("bfloat16 images must be given as uint16");
    }
    if (kind == 'f' && size == 4) return FloatType::kFloat32;
    if (kind == 'f' && size == 2) return FloatType::kFloat16;
    throw py::type_error("images must be float32, float16, or bfloat16 given as uint16");
}

void tiled_l2_float(const py::array& images, const std::optional<py::array>& other, long tile_height,
                    long tile_width, py::array_t<float> out, long threads, bool bfloat16) {
    const Isa& isa = resolve_isa();
    const int workers = check_threads(threads);
    const FloatType type = float_type(images, bfloat16);
    const std::size_t element = tiled_l2::element_bytes(type);
    const ImageSet a = view_images(images, element);
    std::optional<ImageSet> b;
    if (other) {
        if (float_type(*other, bfloat16) != type)
            throw py::type_error("other: dtype differs from that of images");
        b = view_images(*other, element);
    }
    const panels::Grid grid = make_grid(a, b ? &*b : nullptr, tile_height, tile_width, element);
    const std::size_t columns = b ? b->images.count : a.images.count;
    check_out(out, a.images.batches, a.images.count, columns, sizeof(float));
    float* data = out.mutable_data();
    const Unlocked unlocked;
    tiled_l2::pairwise_float(*isa.panels, type, a.images, b ? &b->images : nullptr, grid,
                             {data, a.images.count, columns}, workers);
}

// Walks an array of any strides in C order, one innermost run at a time.
py::ssize_t check_unit_interval(const py::array& array, bool bfloat16) {
    const FloatType type = float_type(array, bfloat16);
    const auto element = static_cast<py::ssize_t>(tiled_l2::element_bytes(type));
    std::vector<py::ssize_t> shape(array.shape(), array.shape() + array.ndim());
    std::vector<py::ssize_t> strides(array.strides(), array.strides() + array.ndim());
    const auto* data = static_cast<const std::uint8_t*>(array.data());
    if (array.size() == 0) return -1;
    const Unlocked unlocked;

    // The innermost dimensions that follow one another are one run.
    py::ssize_t run = 1;
    while (!shape.empty() && (shape.back() == 1 || strides.back() == run * element)) {
        run *= shape.back();
        shape.pop_back();
        strides.pop_back();
    }
    std::vector<py::ssize_t> at(shape.size(), 0);
    py::ssize_t unchecked = 0;
    for (py::ssize_t base = 0;; base += run) {
        for (py::ssize_t done = 0; done < run; done += kElementsBetweenChecks) {
            if ((unchecked += run) >= kElementsBetweenChecks) {
                check_interrupt();
                unchecked = 0;
            }
            const auto count = static_cast<std::size_t>(std::min(kElementsBetweenChecks, run - done));
            const std::size_t bad = tiled_l2::first_outside_unit(type, data + done * element, count);
            if (bad != count) return base + done + static_cast<py::ssize_t>(bad);
        }
        std::size_t d = shape.size();
        for (; d > 0; --d) {
            data += strides[d - 1];
            if (++at[d - 1] < shape[d - 1]) break;
            data -= strides[d - 1] * shape[d - 1];
            at[d - 1] = 0;
        }
        if (d == 0) return -1;
    }
}

}  // namespace

void init_tiled_l2(py::module_& m) {
    m.attr("MAX_BYTES_UINT32") = panels::kMaxBytes32;
    m.def(
        "tiled_l2_ssd",
        [](const py::array_t<std::uint8_t>& images, const std::optional<py::array_t<std::uint8_t>>& other,
           long tile_h, long tile_w, const py::array& out, long threads) {
            if (out.dtype().kind() != 'u') throw py::type_error("out must be uint32 or uint64");
            tiled_l2_ssd(images, other, tile_h, tile_w, out, threads);
        },
        py::arg("images").noconvert(), py::arg("other").noconvert().none(true), py::arg("tile_h"),
        py::arg("tile_w"), py::arg("out").noconvert(), py::arg("threads") = 0);
    m.def("tiled_l2_float", &tiled_l2_float, py::arg("images"), py::arg("other").none(true),
          py::arg("tile_h"), py::arg("tile_w"), py::arg("out").noconvert(), py::arg("threads") = 0,
          py::arg("bfloat16") = false);
    m.def("check_unit_interval", &check_unit_interval, py::arg("array"), py::arg("bfloat16") = false);
}

}  // namespace memcore::bind
