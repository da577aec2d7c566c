#include "knn/knn.hpp"

#include <algorithm>
#include <string>

#include "bind/arrays.hpp"
#include "bind/module.hpp"
#include "bind/unlocked.hpp"

namespace memcore::bind {
namespace {

knn::Rows view_rows(const py::array& array, const char* name) {
    if (array.ndim() != 2) throw py::value_error(std::string(name) + " must have shape (rows, D)");
    if (array.shape(1) > 1 && array.strides(1) != 1)
        throw py::value_error("strides: rows must be contiguous");
    return {static_cast<const std::uint8_t*>(array.data()), static_cast<std::size_t>(array.shape(0)),
            array.strides(0)};
}

// Returns the slots of all queries after checking their number and layout.
template <class Value>
Value* places(py::array_t<Value>& array, const char* name, std::size_t rows, std::size_t k) {
    const bool fits = array.ndim() == 2 && static_cast<std::size_t>(array.shape(0)) == rows &&
                      static_cast<std::size_t>(array.shape(1)) == k && (array.flags() & py::array::c_style);
    if (!fits) throw py::value_error(std::string(name) + " must be C-contiguous and have shape (Q, k)");
    return array.mutable_data();  // raises where it is read-only
}

template <class Sum>
std::size_t extend(const py::array_t<std::uint8_t>& queries, const py::array_t<std::uint8_t>& corpus,
                   py::array_t<Sum> ssd, py::array_t<std::int64_t> index, knn::Before before, int threads) {
    const Isa& isa = resolve_isa();
    const knn::Rows q = view_rows(queries, "queries"), c = view_rows(corpus, "corpus");
    if (queries.shape(1) != corpus.shape(1))
        throw py::value_error("queries and corpus must have rows of the same length");
    const auto dimension = static_cast<std::size_t>(queries.shape(1));
    if (dimension < 1) throw py::value_error("rows must have at least one byte");
    if ((dimension > panels::kMaxBytes32) != (sizeof(Sum) == sizeof(std::uint64_t)))
        throw py::type_error("ssd must be uint32 for rows of at most 66,051 bytes, else uint64");
    if (index.ndim() != 2 || index.shape(1) < 1) throw py::value_error("index must have shape (Q, k)");
    const auto k = static_cast<std::size_t>(index.shape(1));
    Sum* const ssd_data = places(ssd, "ssd", q.count, k);
    std::int64_t* const index_data = places(index, "index", q.count, k);
    if (before.have > k) throw py::value_error("have must be at most k");
    if (before.rows < 0) throw py::value_error("rows must not be negative");
    const Unlocked unlocked;
    knn::search<Sum>(*isa.panels, q, c, dimension, k, ssd_data, index_data, threads, before);
    return std::min(k, before.have + c.count);
}

std::size_t knn_extend(const py::array_t<std::uint8_t>& queries, const py::array_t<std::uint8_t>& corpus,
                       const py::array& ssd, const py::array_t<std::int64_t>& index, std::size_t have,
                       std::int64_t rows, long threads) {
    const int workers = check_threads(threads);
    const knn::Before before{have, rows};
    if (py::isinstance<py::array_t<std::uint32_t>>(ssd))
        return extend<std::uint32_t>(queries, corpus, ssd, index, before, workers);
    if (py::isinstance<py::array_t<std::uint64_t>>(ssd))
        return extend<std::uint64_t>(queries, corpus, ssd, index, before, workers);
    throw py::type_error("ssd must be uint32 or uint64");
}

template <class Sum>
py::tuple run(const Isa& isa, const knn::Rows& queries, const knn::Rows& corpus, std::size_t dimension,
              std::size_t k, int threads) {
    const auto rows = static_cast<py::ssize_t>(queries.count), columns = static_cast<py::ssize_t>(k);
    py::array_t<Sum> ssd({rows, columns});
    py::array_t<std::int64_t> index({rows, columns});
    Sum* ssd_data = ssd.mutable_data();
    std::int64_t* index_data = index.mutable_data();
    {
        const Unlocked unlocked;
        knn::search<Sum>(*isa.panels, queries, corpus, dimension, k, ssd_data, index_data, threads);
    }
    return py::make_tuple(ssd, index);
}

py::tuple search(const py::array_t<std::uint8_t>& queries, const py::array_t<std::uint8_t>& corpus, long k,
                 long threads) {
    const Isa& isa = resolve_isa();
    const int workers = check_threads(threads);
    const knn::Rows q = view_rows(queries, "queries"), c = view_rows(corpus, "corpus");
    if (queries.shape(1) != corpus.shape(1))
        throw py::value_error("queries and corpus must have rows of the same length");
    if (queries.shape(1) < 1) throw py::value_error("rows must have at least one byte");
    if (k < 1 || static_cast<std::size_t>(k) > c.count) {
        throw py::value_error("k must be in [1, " + std::to_string(c.count) + "], got " + std::to_string(k));
    }
    const auto dimension = static_cast<std::size_t>(queries.shape(1)), wanted = static_cast<std::size_t>(k);
    return dimension <= panels::kMaxBytes32 ? run<std::uint32_t>(isa, q, c, dimension, wanted, workers)
                                            : run<std::uint64_t>(isa, q, c, dimension, wanted, workers);
}

}  // namespace

void init_knn(py::module_& m) {
    m.def("knn", &search, py::arg("queries").noconvert(), py::arg("corpus").noconvert(), py::arg("k"),
          py::arg("threads") = 0);
    m.def("knn_extend", &knn_extend, py::arg("queries").noconvert(), py::arg("corpus").noconvert(),
          py::arg("ssd").noconvert(), py::arg("index").noconvert(), py::arg("have"), py::arg("rows"),
          py::arg("threads") = 0);
}

}  // namespace memcore::bind
