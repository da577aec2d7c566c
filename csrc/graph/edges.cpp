#include "graph/edges.hpp"

#include <algorithm>
#include <numeric>

#include "runtime/interrupt.hpp"

namespace memcore::graph {

template <class Link>
std::vector<std::uint8_t> core(std::size_t vertices, const std::vector<Link>& links, std::size_t degree) {
    // Adjacency as one array, cut at starts[v].
    std::vector<std::size_t> starts(vertices + 1, 0);
    visit_each(links, [&](const Link& link) {
        ++starts[static_cast<std::size_t>(link.i) + 1];
        ++starts[static_cast<std::size_t>(link.j) + 1];
    });
    std::partial_sum(starts.begin(), starts.end(), starts.begin());
    std::vector<std::uint32_t> neighbours(starts.back());
    std::vector<std::size_t> fill(starts.begin(), starts.end() - 1);
    visit_each(links, [&](const Link& link) {
        neighbours[fill[static_cast<std::size_t>(link.i)]++] = static_cast<std::uint32_t>(link.j);
        neighbours[fill[static_cast<std::size_t>(link.j)]++] = static_cast<std::uint32_t>(link.i);
    });

    std::vector<std::uint8_t> marked(vertices, 1);
    std::vector<std::size_t> left(vertices);
    std::vector<std::uint32_t> removed;
    const auto remove_if_low = [&](std::size_t v) {
        if (marked[v] == 0 || left[v] >= degree) return;
        marked[v] = 0;
        removed.push_back(static_cast<std::uint32_t>(v));
    };
    for (std::size_t v = 0; v < vertices; ++v) left[v] = starts[v + 1] - starts[v];
    for (std::size_t v = 0; v < vertices; ++v) remove_if_low(v);
    while (!removed.empty()) {
        const std::uint32_t v = removed.back();
        removed.pop_back();
        for (std::size_t n = starts[v]; n < starts[v + 1]; ++n) {
            --left[neighbours[n]];
            remove_if_low(neighbours[n]);
        }
    }
    return marked;
}

template <class Link>
void keep_within(const std::vector<std::uint8_t>& marked, std::vector<Link>& links) {
    std::erase_if(links, [&](const Link& link) {
        return marked[static_cast<std::size_t>(link.i)] == 0 || marked[static_cast<std::size_t>(link.j)] == 0;
    });
}

template std::vector<std::uint8_t> core(std::size_t, const std::vector<Pair>&, std::size_t);
template std::vector<std::uint8_t> core(std::size_t, const std::vector<Edge>&, std::size_t);
template void keep_within(const std::vector<std::uint8_t>&, std::vector<Pair>&);
template void keep_within(const std::vector<std::uint8_t>&, std::vector<Edge>&);

std::vector<Component> components(std::size_t vertices, const std::vector<Pair>& pairs) {
    constexpr std::uint32_t kNone = UINT32_MAX;
    std::vector<std::uint32_t> parent(vertices), slot(vertices, kNone);
    std::iota(parent.begin(), parent.end(), 0U);
    const auto root = [&](std::uint32_t v) {
        while (parent[v] != v) v = parent[v] = parent[parent[v]];
        return v;
    };
    visit_each(pairs, [&](const Pair& pair) { parent[root(pair.j)] = root(pair.i); });

    std::vector<Component> found;
    std::vector<std::uint8_t> used(vertices, 0);
    visit_each(pairs, [&](const Pair& pair) {
        const std::uint32_t r = root(pair.i);
        if (slot[r] == kNone) {
            slot[r] = static_cast<std::uint32_t>(found.size());
            found.emplace_back();
        }
        found[slot[r]].pairs.push_back(pair);
        used[pair.i] = used[pair.j] = 1;
    });
    for (std::uint32_t v = 0; v < vertices; ++v) {
        if (used[v] != 0) found[slot[root(v)]].vertices.push_back(v);
    }
    return found;
}

}  // namespace memcore::graph
