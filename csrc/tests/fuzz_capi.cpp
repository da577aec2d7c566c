// libFuzzer on the C ABI: any bytes as arguments, with memory of exactly the size that they declare, so that
// AddressSanitizer sees each byte read or written beyond it. csrc/tests/run.sh fuzz [seconds].
#include <cstdlib>
#include <cstring>
#include <memory>

#include "include/memcore.h"

namespace {

class Input {
  public:
    Input(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

    std::uint8_t byte() { return at_ < size_ ? data_[at_++] : 0; }
    // Mostly small, now and then any 64 bits.
    std::uint64_t number() {
        const std::uint8_t kind = byte();
        if (kind < 240) return kind % 10;
        std::uint64_t value = 0;
        for (int k = 0; k < 8; ++k) value = value << 8 | byte();
        return value;
    }
    std::ptrdiff_t stride() {
        const auto value = static_cast<std::ptrdiff_t>(number());
        return byte() % 4 == 0 ? static_cast<std::ptrdiff_t>(-static_cast<std::size_t>(value)) : value;
    }

  private:
    const std::uint8_t* const data_;
    const std::size_t size_;
    std::size_t at_ = 0;
};

constexpr std::size_t kMostBytes = 2048;

// Memory of exactly `size` bytes on the heap.
struct Memory {
    explicit Memory(std::size_t bytes) : size(bytes), data(new std::uint8_t[bytes]) {
        for (std::size_t k = 0; k < bytes; ++k) data[k] = static_cast<std::uint8_t>(k * 37 + (k >> 3));
    }
    std::size_t size;
    std::unique_ptr<std::uint8_t[]> data;
};

void require(bool holds) {
    if (!holds) std::abort();
}

memcore_images images(Input& in, const Memory& memory) {
    memcore_images x;
    const std::size_t count = in.number(), height = in.number(), width = in.number(), channels = in.number();
    const std::uint8_t change = in.byte();
    // Where the sizes allow it, right strides first and then perhaps one that is changed.
    if (memcore_images_init(&x, memory.data.get(), count, height, width, channels, change & 1) !=
        MEMCORE_OK) {
        std::memset(&x, 0, sizeof(x));
        x.struct_size = sizeof(x);
        x.data = memory.data.get();
        x.count = count;
        x.height = height;
        x.width = width;
        x.channels = channels;
        x.image_stride = in.stride();
        x.row_stride = in.stride();
        x.column_stride = in.stride();
        x.channel_stride = in.stride();
    }
    x.data_bytes = memory.size;
    if (change & 2) x.offset = in.number();
    if (change & 4) x.image_stride = in.stride();
    if (change & 8) x.row_stride = in.stride();
    if (change & 16) x.column_stride = in.stride();
    if (change & 32) x.channel_stride = in.stride();
    if ((change & 192) == 192) x.struct_size = in.number();
    return x;
}

memcore_batch batch(Input& in, const Memory& memory) {
    memcore_batch x;
    const std::size_t batches = in.number(), count = in.number(), height = in.number(), width = in.number(),
                      channels = in.number();
    const auto type = static_cast<std::int32_t>(in.number() % 5);
    const std::uint8_t change = in.byte();
    if (memcore_batch_init(&x, memory.data.get(), type, batches, count, height, width, channels,
                           change & 1) != MEMCORE_OK) {
        x = {sizeof(x),   memory.data.get(), 0,           0,
             type,        batches,           count,       height,
             width,       channels,          in.stride(), in.stride(),
             in.stride(), in.stride(),       in.stride()};
    }
    x.data_bytes = memory.size;
    if (change & 2) x.offset = in.number();
    if (change & 4) x.batch_stride = in.stride();
    if (change & 8) x.image_stride = in.stride();
    if (change & 16) x.row_stride = in.stride();
    if (change & 32) x.column_stride = in.stride();
    if (change & 64) x.channel_stride = in.stride();
    if ((change & 144) == 144) x.struct_size = in.number();
    return x;
}

void fuzz_batches(Input& in, const Memory& first, const Memory& second, int threads) {
    // Floats in [0, 1], so that more than the check of values is reached.
    if (in.byte() % 4 != 0) {
        const float value = 0.25F * static_cast<float>(in.byte() % 5);
        for (const Memory* memory : {&first, &second}) {
            for (std::size_t k = 0; k + 4 <= memory->size; k += 4)
                std::memcpy(memory->data.get() + k, &value, sizeof(value));
        }
    }
    const memcore_batch a = batch(in, first), b = batch(in, second);
    const std::size_t capacity = in.number() * 4 % 200;
    const std::size_t th = in.number(), tw = in.number();
    const memcore_batch* const other = in.byte() % 2 ? &b : nullptr;
    const std::unique_ptr<std::uint64_t[]> ssd(new std::uint64_t[capacity]);
    const std::unique_ptr<std::uint32_t[]> narrow(new std::uint32_t[capacity]);
    const std::unique_ptr<float[]> distances(new float[capacity]);
    memcore_batch_tiled_l2_ssd(&a, other, th, tw, ssd.get(), capacity, threads);
    memcore_batch_tiled_l2_ssd32(&a, other, th, tw, narrow.get(), capacity, threads);
    memcore_batch_tiled_l2(&a, other, th, tw, distances.get(), capacity, threads);
}

void fuzz_growing_graph(Input& in, const Memory& first, const Memory& second, int threads) {
    memcore_features* features = nullptr;
    memcore_graph *edges = nullptr, *more = nullptr, *merged = nullptr;
    memcore_features_new(in.number(), in.number(), &features);
    const memcore_images a = images(in, first), b = images(in, second);
    const std::size_t capacity = in.number() * 8 % 1000;
    const std::unique_ptr<std::uint8_t[]> copies(new std::uint8_t[capacity]);
    std::size_t wanted = 0;
    if (memcore_features_append(features, &a, in.byte() % 2 ? copies.get() : nullptr, capacity, threads) ==
        MEMCORE_OK)
        wanted += a.count;
    if (in.byte() % 2 && memcore_features_append(features, &b, nullptr, 0, threads) == MEMCORE_OK)
        wanted += b.count;
    require(memcore_features_count(features) == wanted);
    const std::uint64_t limit = in.number() * 1000;
    const std::size_t since = in.number();
    memcore_features_graph(features, &a, limit, since, in.number(), threads, &edges);
    memcore_features_graph(features, &a, limit, since, 0, threads, &more);
    if (memcore_graph_merge(edges, more, &merged) == MEMCORE_OK) {
        require(memcore_graph_edge_count(merged) ==
                memcore_graph_edge_count(edges) + memcore_graph_edge_count(more));
    } else {
        require(merged == nullptr);
    }
    memcore_graph_free(edges);
    memcore_graph_free(more);
    memcore_graph_free(merged);
    memcore_features_free(features);
}

void fuzz_many_graphs(Input& in, int threads) {
    const std::size_t graphs = in.byte() % 6, count = in.byte() % 20;
    const std::unique_ptr<std::int32_t[]> sizes(new std::int32_t[graphs]), edges(new std::int32_t[2 * count]);
    const std::unique_ptr<std::int64_t[]> offsets(new std::int64_t[graphs + 1]);
    offsets[0] = 0;
    const bool honest = in.byte() % 4 != 0;
    for (std::size_t g = 0; g < graphs; ++g) {
        sizes[g] = static_cast<std::int32_t>(in.number());
        const auto step = static_cast<std::int64_t>(in.number());
        const auto end = static_cast<std::int64_t>(count);
        offsets[g + 1] = !honest ? step : g + 1 == graphs ? end : offsets[g] + step % (end - offsets[g] + 1);
        if (honest && offsets[g + 1] < offsets[g]) offsets[g + 1] = offsets[g];
    }
    for (std::size_t k = 0; k < 2 * count; ++k) edges[k] = static_cast<std::int32_t>(in.number());
    memcore_cliques* cliques = nullptr;
    const memcore_status status =
        memcore_max_cliques(graphs, sizes.get(), offsets.get(), edges.get(), count,
                            static_cast<std::int64_t>(in.number()), 1000, threads, &cliques);
    require((status == MEMCORE_OK) == (cliques != nullptr));
    require(memcore_cliques_count(cliques) == (cliques == nullptr ? 0 : graphs));
    for (std::size_t g = 0; g < memcore_cliques_count(cliques); ++g) {
        memcore_clique clique;
        clique.struct_size = sizeof(clique);
        require(memcore_cliques_get(cliques, g, &clique) == MEMCORE_OK);
        for (std::size_t m = 0; m < clique.size; ++m) require(clique.members[m] < sizes[g]);
    }
    memcore_cliques_free(cliques);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input in(data, size);
    const Memory first(in.byte() * 8 % kMostBytes), second(in.byte() * 8 % kMostBytes);
    memcore_isa_select(memcore_isa_name(in.byte() % memcore_isa_count()));
    const int threads = static_cast<int>(in.number() % 3);
    switch (in.byte() % 7) {
        case 0: {
            const memcore_images a = images(in, first), b = images(in, second);
            const std::size_t capacity = in.number() * 4 % 200;
            const std::size_t th = in.number(), tw = in.number();
            const std::unique_ptr<std::uint64_t[]> ssd(new std::uint64_t[capacity]);
            const std::unique_ptr<std::uint32_t[]> narrow(new std::uint32_t[capacity]);
            memcore_tiled_l2_ssd(&a, in.byte() % 2 ? &b : nullptr, th, tw, ssd.get(), capacity, threads);
            memcore_tiled_l2_ssd32(&a, in.byte() % 2 ? &b : nullptr, th, tw, narrow.get(), capacity, threads);
            break;
        }
        case 1: {
            const memcore_images a = images(in, first);
            memcore_graph* graph = nullptr;
            const auto thresholded = in.byte() % 2 ? memcore_tiled_l2_edges : memcore_tiled_l2_graph;
            const memcore_status status =
                thresholded(&a, in.number(), in.number(), in.number() * 1000, in.number(), threads, &graph);
            require((status == MEMCORE_OK) == (graph != nullptr));
            for (std::size_t e = 0; e < memcore_graph_edge_count(graph); ++e) {
                const std::int32_t* edge = memcore_graph_edges(graph) + 2 * e;
                require(0 <= edge[0] && edge[0] < edge[1] && static_cast<std::size_t>(edge[1]) < a.count);
            }
            memcore_graph_free(graph);
            break;
        }
        case 2: {
            std::int32_t edges[40];
            for (std::int32_t& v : edges) v = static_cast<std::int32_t>(in.number());
            const std::size_t count = in.byte() % 20;
            const std::unique_ptr<std::int32_t[]> exact(new std::int32_t[2 * count]);
            std::memcpy(exact.get(), edges, 2 * count * sizeof(*edges));
            memcore_cliques* cliques = nullptr;
            const auto n = static_cast<std::int64_t>(in.number());
            if (in.byte() % 2) {
                memcore_max_clique(n, exact.get(), count, 1000, &cliques);
            } else {
                memcore_find_cliques(n, exact.get(), count, static_cast<std::int64_t>(in.number()), 1000,
                                     &cliques);
            }
            for (std::size_t k = 0; k < memcore_cliques_count(cliques); ++k) {
                memcore_clique clique;
                clique.struct_size = sizeof(clique);
                require(memcore_cliques_get(cliques, k, &clique) == MEMCORE_OK);
                for (std::size_t m = 0; m < clique.size; ++m) require(clique.members[m] < n);
            }
            memcore_cliques_free(cliques);
            break;
        }
        case 3:
            fuzz_batches(in, first, second, threads);
            break;
        case 4:
            fuzz_growing_graph(in, first, second, threads);
            break;
        case 5:
            fuzz_many_graphs(in, threads);
            break;
        default: {
            memcore_rows rows[2];
            const Memory* memory[2] = {&first, &second};
            for (int r = 0; r < 2; ++r) {
                rows[r] = {sizeof(memcore_rows), memory[r]->data.get(), memory[r]->size, in.number(),
                           in.number(),          in.number(),           in.stride()};
            }
            const std::size_t k = in.number(), capacity = in.number() * 4 % 200;
            const std::unique_ptr<std::uint64_t[]> ssd(new std::uint64_t[capacity]);
            const std::unique_ptr<std::int64_t[]> index(new std::int64_t[capacity]);
            memcore_knn(&rows[0], &rows[1], k, ssd.get(), index.get(), capacity, threads);
            double threshold;
            const std::uint64_t bits = in.number();
            std::memcpy(&threshold, &bits, sizeof(threshold));
            std::uint64_t ssd_max = 0;
            const std::uint64_t bytes = in.number();
            if (memcore_ssd_max(threshold, bytes, &ssd_max) == MEMCORE_OK) require(ssd_max <= bytes * 65025);
        }
    }
    return 0;
}
