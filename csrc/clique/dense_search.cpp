#include "clique/dense_search.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <utility>

#include "clique/branch.hpp"
#include "clique/independent_set.hpp"
#include "runtime/interrupt.hpp"

namespace memcore::clique {
namespace {

// Colours are worth improving where at least this share of the pairs are edges.
constexpr double kRecolourDensity = 0.5;
// The number of nodes after which a search continues, although a larger clique was found.
constexpr std::int64_t kYoungNodes = 200;
std::size_t at(int v) { return static_cast<std::size_t>(v); }

FoundClique none(int lower) {
    FoundClique answer;
    answer.upper = lower;
    return answer;
}

FoundClique complete(std::vector<int> members) {
    FoundClique answer;
    answer.upper = static_cast<int>(members.size());
    answer.members = std::move(members);
    answer.found = true;
    return answer;
}

FoundClique cut(int upper) {
    FoundClique answer;
    answer.finished = false;
    answer.upper = upper;
    return answer;
}

}  // namespace

DenseSearch::DenseSearch(const BitGraph& graph, Budget& budget)
    : graph_(graph), budget_(budget), place_(at(graph.n()), -1) {}

BitSet DenseSearch::all() const {
    BitSet set(graph_.words());
    for (int v = 0; v < graph_.n(); ++v) set.set(v);
    return set;
}

void DenseSearch::degrees(const Word* within, const std::vector<int>& vertices, std::vector<int>& out) const {
    out.resize(vertices.size());
    for (std::size_t i = 0; i < vertices.size(); ++i) {
        const Word* const row = graph_.row(vertices[i]);
        int total = 0;
        for (std::size_t w = 0; w < graph_.words(); ++w) total += count_bits(row[w] & within[w]);
        out[i] = total;
    }
}

// Each vertex of a clique of more than `lower` vertices has at least `lower` neighbours in it.
DenseSearch::Subgraph DenseSearch::peeled(const BitSet& candidates, int lower) const {
    Subgraph sub;
    sub.set = candidates;
    sub.vertices = list_members(candidates);
    for (bool changed = true; changed;) {
        check_interrupt();
        changed = false;
        degrees(sub.set.data(), sub.vertices, sub.degree);
        std::size_t kept = 0;
        for (std::size_t i = 0; i < sub.vertices.size(); ++i) {
            if (sub.degree[i] < lower) {
                sub.set.clear(sub.vertices[i]);
                changed = true;
                continue;
            }
            sub.vertices[kept] = sub.vertices[i];
            sub.degree[kept++] = sub.degree[i];
        }
        sub.vertices.resize(kept);
        sub.degree.resize(kept);
        if (sub.count() <= lower) break;
    }
    sub.arcs = std::accumulate(sub.degree.begin(), sub.degree.end(), std::int64_t{0});
    const auto largest = std::max_element(sub.degree.begin(), sub.degree.end());
    sub.width_bound = largest == sub.degree.end() ? 0 : *largest + 1;
    return sub;
}

// Puts last the vertex with the fewest neighbours, before it the one with the fewest among the others, and so
// on.
void DenseSearch::order_by_width(Subgraph& sub) {
    int bound = 0;
    std::vector<int>& vertices = sub.vertices;
    std::vector<int>& degree = sub.degree;
    for (int v = 0; v < sub.count(); ++v) place_[at(vertices[at(v)])] = v;
    BitSet rest = sub.set;
    for (std::size_t end = vertices.size(); end-- > 0;) {
        const auto least = static_cast<std::size_t>(
            std::min_element(degree.begin(), degree.begin() + static_cast<std::ptrdiff_t>(end) + 1) -
            degree.begin());
        const int v = vertices[least];
        bound = std::max(bound, degree[least] + 1);
        std::swap(vertices[least], vertices[end]);
        std::swap(degree[least], degree[end]);
        place_[at(vertices[least])] = static_cast<int>(least);
        place_[at(v)] = -1;
        rest.clear(v);
        const Word* const row = graph_.row(v);
        for (std::size_t w = 0; w < rest.words(); ++w) {
            for (Word both = row[w] & rest.data()[w]; both != 0; both &= both - 1) {
                --degree[at(place_[at(static_cast<int>(w) * kWordBits + std::countr_zero(both))])];
            }
        }
    }
    sub.width_bound = bound;
}

FoundClique DenseSearch::maximum(const BitSet& candidates, int lower) {
    FoundClique answer = none(lower);
    for (const BitSet& part : components(candidates, false)) {
        if (part.count() <= lower) continue;
        FoundClique found = maximum_of_connected(part, lower);
        answer.finished = answer.finished && found.finished;
        answer.upper = std::max(answer.upper, found.upper);
        if (!found.found) continue;
        lower = static_cast<int>(found.members.size());
        answer.members = std::move(found.members);
        answer.found = true;
    }
    return answer;
}

FoundClique DenseSearch::maximum_of_connected(const BitSet& candidates, int lower) {
    // Where the complement is not connected, a maximum clique is the union of one of each part.
    const std::vector<BitSet> parts = components(candidates, true);
    if (parts.size() > 1) {
        FoundClique answer;
        for (const BitSet& part : parts) {
            const FoundClique found = maximum(part, 0);
            answer.finished = answer.finished && found.finished;
            answer.upper += found.upper;
            answer.members.insert(answer.members.end(), found.members.begin(), found.members.end());
        }
        answer.found = static_cast<int>(answer.members.size()) > lower;
        answer.upper = std::max(answer.upper, lower);
        if (!answer.found) answer.members.clear();
        return answer;
    }
    Subgraph sub = peeled(candidates, lower);
    if (sub.count() <= lower) return none(lower);
    std::vector<int> start;
    if (!sub.sparse_complement()) {
        order_by_width(sub);
        if (sub.width_bound <= lower) return none(lower);
        start = greedy(sub);
    }
    FoundClique best = none(lower);
    if (static_cast<int>(start.size()) > lower) {
        lower = static_cast<int>(start.size());
        best.members = std::move(start);
        best.found = true;
    }
    // Each larger clique peels more away, which a search that is under way does not see: so start again while
    // it is young.
    const std::int64_t limit = budget_.limit;
    for (bool young = true;;) {
        budget_.limit = young ? std::min(limit, budget_.used + kYoungNodes) : limit;
        FoundClique found = larger(sub.set, lower, young ? lower + 1 : sub.width_bound);
        budget_.limit = limit;
        best.upper = std::min(found.upper, sub.width_bound);
        if (found.found) {
            lower = static_cast<int>(found.members.size());
            best.members = std::move(found.members);
            best.found = true;
        }
        best.finished = found.finished && (!found.found || !young || lower >= sub.width_bound);
        if (best.finished) best.upper = lower;
        if (best.finished || budget_.spent()) return best;
        young = young && found.finished;
    }
}

FoundClique DenseSearch::larger(BitSet candidates, int lower, int stop_at) {
    Subgraph sub = peeled(candidates, lower);
    if (sub.count() <= lower) return none(lower);
    if (sub.missing_arcs() == 0) return complete(std::move(sub.vertices));
    if (sub.sparse_complement()) return by_complement(sub, lower, stop_at);
    if (!budget_.take()) return cut(std::min(sub.count(), std::max(lower, colour_bound(sub.set))));
    order_by_width(sub);
    if (sub.width_bound <= lower) return none(lower);
    return sub.count() > kMaxBranchVertices ? by_split(sub, lower, stop_at)
                                            : by_branching(sub, lower, stop_at);
}

FoundClique DenseSearch::by_complement(const Subgraph& sub, int lower, int stop_at) {
    SparseState state(sub.count());
    for (int i = 0; i < sub.count(); ++i) place_[at(sub.vertices[at(i)])] = i;
    for (int i = 0; i < sub.count(); ++i) {
        const int v = sub.vertices[at(i)];
        state.begin[at(i)] = static_cast<int>(state.lists.size());
        const Word* const row = graph_.row(v);
        for (std::size_t w = 0; w < sub.set.words(); ++w) {
            for (Word missing = sub.set.data()[w] & ~row[w]; missing != 0; missing &= missing - 1) {
                const int u = static_cast<int>(w) * kWordBits + std::countr_zero(missing);
                if (u != v) state.lists.push_back(place_[at(u)]);
            }
        }
        state.length[at(i)] = state.degree[at(i)] = static_cast<int>(state.lists.size()) - state.begin[at(i)];
    }
    for (const int v : sub.vertices) place_[at(v)] = -1;

    std::vector<int> start = greedy_independent_set(state);
    const bool improved = static_cast<int>(start.size()) > lower;
    FoundClique found;
    if (improved && static_cast<int>(start.size()) >= stop_at) {
        found = cut(sub.count());
        found.finished = true;
    } else {
        found = max_independent_set(std::move(state), improved ? static_cast<int>(start.size()) : lower,
                                    stop_at, budget_);
    }
    if (!found.found && improved) {
        found.members = std::move(start);
        found.found = true;
    }
    for (int& v : found.members) v = sub.vertices[at(v)];
    return found;
}

FoundClique DenseSearch::by_split(const Subgraph& sub, int lower, int stop_at) {
    FoundClique answer = none(lower);
    // Parts are costly here: first what may make them needless.
    const int upper = std::min(sub.width_bound, colour_bound(sub.set));
    if (upper <= lower) return answer;
    if (std::vector<int> start = greedy(sub); static_cast<int>(start.size()) > lower) {
        lower = static_cast<int>(start.size());
        answer.members = std::move(start);
        answer.found = true;
        answer.upper = std::max(lower, upper);
        if (lower >= std::min(upper, stop_at)) return answer;
    }
    BitSet inner(graph_.words());
    for (const int v : sub.vertices) {
        check_interrupt();
        BitSet candidates = inner;
        candidates.intersect(graph_.row(v));
        inner.set(v);
        FoundClique found = larger(std::move(candidates), lower - 1, stop_at - 1);
        if (found.found) {
            answer.members = std::move(found.members);
            answer.members.push_back(v);
            answer.found = true;
            lower = static_cast<int>(answer.members.size());
        }
        if (!found.finished || lower >= stop_at) {
            answer.finished = found.finished;
            answer.upper = std::max(lower, upper);
            return answer;
        }
    }
    answer.upper = lower;
    return answer;
}

// Fills packed_ with the subgraph's own bit rows, in its order of vertices, and makes the branching's
// workspace large enough. Returns the words of a row.
int DenseSearch::pack(const Subgraph& sub) {
    const int n = sub.count();
    int words = 1;
    while (words * kWordBits < n) words *= 2;
    // Sized for all subgraphs of this width, so that there are few allocations in a search.
    const int widest = words * kWordBits;
    const std::size_t bytes = branch_workspace_bytes(widest, words);
    if (workspace_.size() < bytes) {
        workspace_ = AlignedArray<unsigned char>(bytes);
        packed_ = AlignedArray<Word>(at(widest * words));
    }
    std::fill_n(packed_.data(), n * words, Word{0});
    for (int i = 0; i < n; ++i) place_[at(sub.vertices[at(i)])] = i;
    for (int i = 0; i < n; ++i) {
        const Word* const row = graph_.row(sub.vertices[at(i)]);
        Word* const packed = packed_.data() + i * words;
        for (std::size_t w = 0; w < sub.set.words(); ++w) {
            for (Word both = row[w] & sub.set.data()[w]; both != 0; both &= both - 1) {
                const int j = place_[at(static_cast<int>(w) * kWordBits + std::countr_zero(both))];
                packed[j / kWordBits] |= Word{1} << (j % kWordBits);
            }
        }
    }
    for (const int v : sub.vertices) place_[at(v)] = -1;
    return words;
}

FoundClique DenseSearch::by_branching(const Subgraph& sub, int lower, int stop_at) {
    const int n = sub.count();
    std::vector<int> members(at(n));
    BranchTask task{};
    task.n = n;
    task.words = pack(sub);
    task.rows = packed_.data();
    task.recolour = sub.density() >= kRecolourDensity;
    task.lower = lower;
    task.stop_at = stop_at;
    task.node_limit = budget_.left();
    task.workspace = workspace_.data();
    task.members = members.data();
    branch(task);
    budget_.used += task.nodes;

    FoundClique answer;
    answer.finished = task.finished;
    answer.upper = std::max(std::min(task.upper, sub.width_bound), lower);
    answer.found = task.size > 0;
    for (int i = 0; i < task.size; ++i) answer.members.push_back(sub.vertices[at(members[at(i)])]);
    return answer;
}

}  // namespace memcore::clique
