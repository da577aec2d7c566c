#include "clique/sparse_search.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "runtime/interrupt.hpp"

namespace memcore::clique {
namespace {

std::size_t at(int v) { return static_cast<std::size_t>(v); }

std::vector<int> vertices_of_core(const Cores& cores, int least) {
    std::vector<int> vertices;
    for (std::size_t v = 0; v < cores.core.size(); ++v) {
        if (cores.core[v] >= least) vertices.push_back(static_cast<int>(v));
    }
    return vertices;
}

void rename(std::vector<int>& members, const std::vector<int>& names) {
    for (int& v : members) v = names[at(v)];
}

// A maximum clique of more than `lower` vertices, ending early at one of `stop_at`.
FoundClique larger(const SparseGraph& graph, int lower, int stop_at, Budget& budget) {
    FoundClique answer;
    answer.upper = std::max(lower, 0);
    if (graph.n() <= lower) return answer;
    if (graph.n() <= kMaxDenseVertices) {
        std::vector<int> everything(at(graph.n()));
        for (int v = 0; v < graph.n(); ++v) everything[at(v)] = v;
        const BitGraph bits = Inducer(graph).bits(everything);
        DenseSearch search(bits, budget);
        return search.larger(search.all(), lower, stop_at);
    }
    const Cores cores = core_numbers(graph);
    Inducer inducer(graph);
    std::vector<char> inner(at(graph.n()), 0);
    std::vector<int> candidates;
    for (auto v = cores.order.rbegin(); v != cores.order.rend(); ++v) {
        check_interrupt();
        candidates.clear();
        for (const int* u = graph.from(*v); u != graph.to(*v); ++u) {
            if (inner[at(*u)] && cores.core[at(*u)] >= lower) candidates.push_back(*u);
        }
        inner[at(*v)] = 1;
        if (static_cast<int>(candidates.size()) < lower) continue;
        FoundClique found = larger(inducer.lists(candidates), lower - 1, stop_at - 1, budget);
        if (found.found) {
            rename(found.members, candidates);
            found.members.push_back(*v);
            answer.members = std::move(found.members);
            answer.found = true;
            lower = static_cast<int>(answer.members.size());
        }
        if (!found.finished || lower >= stop_at) {
            answer.finished = found.finished;
            answer.upper = std::max(lower, cores.largest + 1);
            return answer;
        }
    }
    answer.upper = lower;
    return answer;
}

// As DenseSearch::make_canonical: decides on the vertices in ascending order until one is taken; its
// neighbours are the graph that is left.
bool make_canonical(const SparseGraph& graph, std::vector<int>& clique, Budget& budget) {
    const int size = static_cast<int>(clique.size());
    if (graph.n() <= size) return true;
    Inducer inducer(graph);
    if (graph.n() <= kMaxDenseVertices) {
        std::vector<int> everything(at(graph.n()));
        for (int v = 0; v < graph.n(); ++v) everything[at(v)] = v;
        const BitGraph bits = inducer.bits(everything);
        DenseSearch search(bits, budget);
        return search.make_canonical(search.all(), clique);
    }
    for (int v = 0;; ++v) {
        check_interrupt();
        // Smaller vertices were refused, so that only larger ones are left.
        if (graph.degree(v) < size - 1) continue;
        const std::vector<int> candidates(std::upper_bound(graph.from(v), graph.to(v), v), graph.to(v));
        const SparseGraph neighbourhood = inducer.lists(candidates);
        std::vector<int> others;
        if (const auto place = std::find(clique.begin(), clique.end(), v); place != clique.end()) {
            clique.erase(place);
            for (const int u : clique) {
                others.push_back(static_cast<int>(std::lower_bound(candidates.begin(), candidates.end(), u) -
                                                  candidates.begin()));
            }
        } else {
            FoundClique found = larger(neighbourhood, size - 2, size - 1, budget);
            if (!found.finished) return false;
            if (!found.found) continue;
            others = std::move(found.members);
        }
        const bool certain = make_canonical(neighbourhood, others, budget);
        rename(others, candidates);
        clique = std::move(others);
        clique.push_back(v);
        return certain;
    }
}

}  // namespace

Clique canonical_maximum(const SparseGraph& graph, int min_size, Budget& budget) {
    check_interrupt();
    const std::int64_t used_before = budget.used;
    Clique answer;
    answer.upper = min_size - 1;
    answer.proven = true;
    if (graph.n() < min_size) return answer;
    const Cores cores = core_numbers(graph);
    if (cores.largest + 1 < min_size) return answer;

    std::vector<int> best = quick_clique(graph, cores);
    if (static_cast<int>(best.size()) < min_size) best.clear();
    int lower = std::max(static_cast<int>(best.size()), min_size - 1);
    answer.upper = cores.largest + 1;

    // Enough for both steps: the size, and the canonical clique of that size.
    std::vector<int> kept =
        vertices_of_core(cores, lower == static_cast<int>(best.size()) ? lower - 1 : lower);
    if (answer.upper == lower && kept.size() == best.size()) {
        // The core that holds all cliques of this size is one.
        answer.members = std::move(kept);
        answer.lower = lower;
        return answer;
    }
    Inducer inducer(graph);
    const auto place = [&](int v) {
        return static_cast<int>(std::lower_bound(kept.begin(), kept.end(), v) - kept.begin());
    };
    for (int& v : best) v = place(v);
    bool certain = true;
    if (static_cast<int>(kept.size()) <= kMaxDenseVertices) {
        const BitGraph bits = inducer.bits(kept);
        DenseSearch search(bits, budget);
        const auto core = [&](int least) {
            BitSet set(bits.words());
            for (int v = 0; v < bits.n(); ++v) {
                if (cores.core[at(kept[at(v)])] >= least) set.set(v);
            }
            return set;
        };
        if (answer.upper > lower) {
            FoundClique found = search.maximum(core(lower), lower);
            answer.upper = std::min(answer.upper, found.upper);
            certain = found.finished;
            if (found.found) best = std::move(found.members);
        }
        if (certain && !best.empty()) {
            certain = search.make_canonical(core(static_cast<int>(best.size()) - 1), best);
        }
    } else {
        const SparseGraph sub = inducer.lists(kept);
        if (answer.upper > lower) {
            FoundClique found = larger(sub, lower, answer.upper, budget);
            certain = found.finished;
            answer.upper = certain ? std::max(lower, static_cast<int>(found.members.size()))
                                   : std::min(answer.upper, found.upper);
            if (found.found) best = std::move(found.members);
        }
        if (certain && !best.empty()) certain = make_canonical(sub, best, budget);
    }
    rename(best, kept);
    std::sort(best.begin(), best.end());
    answer.members = std::move(best);
    answer.lower = static_cast<int>(answer.members.size());
    answer.proven = certain;
    answer.nodes = budget.used - used_before;
    return answer;
}

}  // namespace memcore::clique
