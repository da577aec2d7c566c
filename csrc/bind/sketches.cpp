#include <string>
#include <tuple>

#include "bind/arrays.hpp"
#include "bind/module.hpp"
#include "bind/unlocked.hpp"
#include "sketches/contract.hpp"
#include "sketches/range.hpp"
#include "sketches/sketch.hpp"

namespace memcore::bind {
namespace {

using Bytes = py::array_t<std::uint8_t>;
using Places = py::array_t<std::int64_t>;
using Limits = py::array_t<std::uint32_t>;

void require_contiguous(const py::array& array, py::ssize_t dimensions, const char* name) {
    if (array.ndim() != dimensions || !(array.flags() & py::array::c_style)) {
        throw py::value_error(std::string(name) + " must be C-contiguous with " + std::to_string(dimensions) +
                              " dimensions");
    }
}

sketches::Rows view_rows(const Bytes& array, const char* name) {
    require_contiguous(array, 2, name);
    if (array.shape(1) < 1 || static_cast<std::size_t>(array.shape(1)) > sketches::kMaxNumbers) {
        throw py::value_error(std::string(name) + " must have rows of 1 to " +
                              std::to_string(sketches::kMaxNumbers) + " bytes");
    }
    return {array.data(), static_cast<std::size_t>(array.shape(0)), static_cast<std::size_t>(array.shape(1))};
}

Bytes sketch(const Bytes& images, long rows, long columns, long threads) {
    require_contiguous(images, 4, "images");
    const int workers = check_threads(threads);
    if (rows < 1 || columns < 1 || rows > images.shape(1) || columns > images.shape(2))
        throw py::value_error("rows and columns must be at least 1 and at most the image's sides");
    if (images.shape(3) < 1 || images.shape(3) > 4) throw py::value_error("images must have 1 to 4 channels");
    const sketches::SketchShape shape{static_cast<std::size_t>(images.shape(1)),
                                      static_cast<std::size_t>(images.shape(2)),
                                      static_cast<std::size_t>(images.shape(3)),
                                      static_cast<std::size_t>(rows), static_cast<std::size_t>(columns)};
    const std::size_t numbers = shape.blocks() + sketches::kResidualCopies;
    if (numbers > sketches::kMaxNumbers)
        throw py::value_error("a sketch may have at most " + std::to_string(sketches::kMaxNumbers) +
                              " numbers");
    if (!sketches::fits(shape)) throw py::value_error("images are too large for a sketch of this shape");
    Bytes out({images.shape(0), static_cast<py::ssize_t>(numbers)});
    std::uint8_t* data = out.mutable_data();
    {
        const Unlocked unlocked;
        sketches::sketch(images.data(), static_cast<std::size_t>(images.shape(0)), shape, data, workers);
    }
    return out;
}

// (centres, centre_limits, points, limits, corpus) of one level.
using LevelArrays = std::tuple<Bytes, Limits, Bytes, Limits, Bytes>;

sketches::Level view_level(const LevelArrays& arrays, const std::string& name) {
    const auto& [centres, centre_limits, points, limits, corpus] = arrays;
    const sketches::Level level{
        view_rows(centres, (name + " centres").c_str()), view_rows(points, (name + " points").c_str()),
        view_rows(corpus, (name + " corpus").c_str()), centre_limits.data(), limits.data()};
    require_contiguous(centre_limits, 1, "centre_limits");
    require_contiguous(limits, 1, "limits");
    if (level.centres.width != level.corpus.width || level.points.width != level.corpus.width)
        throw py::value_error("centres, points and corpus must have rows of one length");
    if (static_cast<std::size_t>(centre_limits.shape(0)) != level.centres.count ||
        static_cast<std::size_t>(limits.shape(0)) != level.points.count || level.points.count > UINT32_MAX)
        throw py::value_error("centre_limits and limits must fit centres and points");
    return level;
}

py::object range(const LevelArrays& coarse, const LevelArrays& fine, const Places& offsets,
                 std::size_t max_hits, long threads) {
    const Isa& isa = resolve_isa();
    const int workers = check_threads(threads);
    const sketches::Search search{view_level(coarse, "coarse"), view_level(fine, "fine"), offsets.data()};
    require_contiguous(offsets, 1, "offsets");
    const std::size_t groups = search.coarse.centres.count, points = search.coarse.points.count;
    if (search.fine.centres.count != groups || search.fine.points.count != points ||
        search.fine.corpus.count != search.coarse.corpus.count)
        throw py::value_error("both levels must have the same centres, points and corpus rows");
    if (static_cast<std::size_t>(offsets.shape(0)) != groups + 1)
        throw py::value_error("offsets must fit centres");
    const std::int64_t* offset = offsets.data();
    if (offset[0] != 0 || offset[groups] != static_cast<std::int64_t>(points))
        throw py::value_error("offsets must run from 0 to the number of points");
    for (std::size_t g = 0; g < groups; ++g) {
        if (offset[g] > offset[g + 1]) throw py::value_error("offsets must ascend");
    }
    std::vector<sketches::Hit> hits;
    bool complete = false;
    {
        const Unlocked unlocked;
        complete = sketches::range_search(*isa.panels, search, max_hits, hits, workers);
    }
    if (!complete) return py::none();
    const auto count = static_cast<py::ssize_t>(hits.size());
    Places point(count), row(count);
    py::array_t<std::uint64_t> ssd(count);
    std::int64_t* const point_out = point.mutable_data();
    std::int64_t* const row_out = row.mutable_data();
    std::uint64_t* const ssd_out = ssd.mutable_data();
    for (std::size_t h = 0; h < hits.size(); ++h) {
        point_out[h] = hits[h].point;
        row_out[h] = hits[h].row;
        ssd_out[h] = hits[h].ssd;
    }
    return py::make_tuple(point, row, ssd);
}

sketches::Rows view_tiles(const Bytes& array, const char* name) {
    require_contiguous(array, 3, name);
    return {array.data(), static_cast<std::size_t>(array.shape(0)),
            static_cast<std::size_t>(array.shape(1) * array.shape(2))};
}

void require_inside(const Places& places, std::size_t count, const char* name) {
    require_contiguous(places, 1, name);
    for (py::ssize_t p = 0; p < places.shape(0); ++p) {
        const std::int64_t place = places.data()[p];
        if (place < 0 || static_cast<std::size_t>(place) >= count)
            throw py::value_error(std::string(name) + " points outside its array");
    }
}

py::array_t<std::uint64_t> pair_ssd(const Bytes& left, const Bytes& right, const Places& i, const Places& j,
                                    long threads) {
    const Isa& isa = resolve_isa();
    const int workers = check_threads(threads);
    const sketches::Rows a = view_tiles(left, "left"), b = view_tiles(right, "right");
    if (left.shape(1) != right.shape(1) || left.shape(2) != right.shape(2) || a.width == 0)
        throw py::value_error("left and right must have tiles of one shape, of at least one byte");
    require_inside(i, a.count, "i");
    require_inside(j, b.count, "j");
    if (i.shape(0) != j.shape(0)) throw py::value_error("i and j must have the same length");
    py::array_t<std::uint64_t> out(i.shape(0));
    std::uint64_t* data = out.mutable_data();
    {
        const Unlocked unlocked;
        sketches::pair_ssd(*isa.panels, a, b, static_cast<std::size_t>(left.shape(1)), i.data(), j.data(),
                           static_cast<std::size_t>(i.shape(0)), data, workers);
    }
    return out;
}

}  // namespace

void init_sketches(py::module_& m) {
    m.def("index_sketch", &sketch, py::arg("images").noconvert(), py::arg("rows"), py::arg("columns"),
          py::arg("threads") = 0);
    m.def("index_range", &range, py::arg("coarse").noconvert(), py::arg("fine").noconvert(),
          py::arg("offsets").noconvert(), py::arg("max_hits"), py::arg("threads") = 0);
    m.def("index_pair_ssd", &pair_ssd, py::arg("left").noconvert(), py::arg("right").noconvert(),
          py::arg("i").noconvert(), py::arg("j").noconvert(), py::arg("threads") = 0);
}

}  // namespace memcore::bind
