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

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input in(data, size);
    const Memory first(in.byte() * 8 % kMostBytes), second(in.byte() * 8 % kMostBytes);
    memcore_isa_select(memcore_isa_name(in.byte() % memcore_isa_count()));
    const int threads = static_cast<int>(in.number() % 3);
    switch (in.byte() % 4) {
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
            const memcore_status status = memcore_tiled_l2_graph(
                &a, in.number(), in.number(), in.number() * 1000, in.number(), threads, &graph);
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
