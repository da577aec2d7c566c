#include "knn/knn.hpp"

#include "arguments/call.hpp"
#include "capi/status.hpp"
#include "capi/views.hpp"

using namespace memcore;
using namespace memcore::capi;

extern "C" memcore_status memcore_knn(const memcore_rows* queries, const memcore_rows* corpus, size_t k,
                                      uint64_t* ssd, int64_t* indices, size_t capacity, int32_t threads) {
    return guarded([&] {
        const Isa& isa = arguments::resolve_isa();
        const int workers = arguments::check_threads(threads);
        const knn::Rows q = view(queries, "queries"), c = view(corpus, "corpus");
        if (queries->dimension != corpus->dimension) {
            throw ArgumentError("corpus must have the dimension of queries, " +
                                std::to_string(queries->dimension) + ", got " +
                                std::to_string(corpus->dimension));
        }
        if (k < 1 || k > c.count) {
            throw ArgumentError("k must be in [1, " + std::to_string(c.count) + "], got " +
                                std::to_string(k));
        }
        if (queries->dimension > kMaxTileBytes64) {
            throw ArgumentError("dimension: the sum of " + std::to_string(queries->dimension) +
                                    " squared differences does not fit 64 bits",
                                Fault::kOverflow);
        }
        check_pointer(ssd, "ssd");
        check_pointer(indices, "indices");
        check_capacity(capacity, q.count, k, "ssd and indices");
        knn::search<std::uint64_t>(*isa.panels, q, c, queries->dimension, k, ssd, indices, workers);
    });
}
