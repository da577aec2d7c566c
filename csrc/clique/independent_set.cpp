#include "clique/independent_set.hpp"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>

#include "runtime/interrupt.hpp"

namespace memcore::clique {
namespace {

std::size_t at(int v) { return static_cast<std::size_t>(v); }

using Found = Outcome<std::vector<int>>;

// Applies, until none applies, the reductions that keep the independence number:
//   degree 0, 1: the vertex is in some maximum independent set: take it;
//   degree 2, neighbours adjacent: the same;
//   degree 2, neighbours a and b not adjacent: either the vertex is taken, or both a and b: merge the three
//   into one vertex.
class Reducer {
  public:
    explicit Reducer(SparseState& state) : s_(state), mark_(at(state.n()), 0) {
        for (int v = s_.n() - 1; v >= 0; --v) enqueue(v);
    }

    void run() {
        while (!queue_.empty()) {
            const int v = queue_.back();
            queue_.pop_back();
            if (!s_.alive[at(v)]) continue;
            if (s_.degree[at(v)] <= 1) {
                take(v);
            } else if (s_.degree[at(v)] == 2) {
                reduce_degree_two(v);
            }
        }
    }

    void take(int v) {
        steps_.push_back({v, -1, -1});
        const int begin = s_.begin[at(v)];
        for (int i = 0; i < s_.length[at(v)]; ++i) {
            const int u = s_.lists[at(begin + i)];
            if (s_.alive[at(u)]) remove(u);
        }
        s_.alive[at(v)] = 0;
    }

    void remove(int v) {
        s_.alive[at(v)] = 0;
        for (int i = 0; i < s_.length[at(v)]; ++i) {
            const int u = s_.lists[at(s_.begin[at(v)] + i)];
            if (!s_.alive[at(u)]) continue;
            --s_.degree[at(u)];
            enqueue(u);
        }
    }

    // Each step puts exactly one vertex more into the set.
    int gained() const { return static_cast<int>(steps_.size()); }

    // Turns an independent set of what is left into one of the graph as it was.
    void undo(std::vector<int>& set) {
        std::fill(mark_.begin(), mark_.end(), 0);
        for (const int v : set) mark_[at(v)] = 1;
        for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) {
            const bool merged_taken = step->a >= 0 && mark_[at(step->a)];
            mark_[at(merged_taken ? step->b : step->v)] = 1;
        }
        set.clear();
        for (int v = 0; v < s_.n(); ++v) {
            if (mark_[at(v)]) set.push_back(v);
        }
    }

  private:
    // Taking v (a < 0), or the merging of v, a and b under the name a.
    struct Step {
        int v, a, b;
    };

    void enqueue(int v) {
        if (s_.degree[at(v)] <= 2) queue_.push_back(v);
    }

    void reduce_degree_two(int v) {
        int pair[2] = {-1, -1};
        int found = 0;
        for (int i = 0; found < 2; ++i) {
            const int u = s_.lists[at(s_.begin[at(v)] + i)];
            if (s_.alive[at(u)]) pair[found++] = u;
        }
        const auto [a, b] = pair;
        const auto first = s_.lists.begin() + s_.begin[at(a)];
        if (std::find(first, first + s_.length[at(a)], b) != first + s_.length[at(a)]) return take(v);
        merge(v, a, b);
    }

    void merge(int v, int a, int b) {
        steps_.push_back({v, a, b});
        s_.alive[at(v)] = s_.alive[at(b)] = 0;
        const int begin = static_cast<int>(s_.lists.size());
        ++stamp_;
        for (int i = 0; i < s_.length[at(a)]; ++i) {
            const int u = s_.lists[at(s_.begin[at(a)] + i)];
            if (!s_.alive[at(u)]) continue;
            mark_[at(u)] = stamp_;
            s_.lists.push_back(u);
        }
        for (int i = 0; i < s_.length[at(b)]; ++i) {
            const int u = s_.lists[at(s_.begin[at(b)] + i)];
            if (!s_.alive[at(u)]) continue;
            if (mark_[at(u)] == stamp_) {
                --s_.degree[at(u)];
                enqueue(u);
            } else {
                s_.lists.push_back(u);
                const auto first = s_.lists.begin() + s_.begin[at(u)];
                *std::find(first, first + s_.length[at(u)], b) = a;
            }
        }
        s_.begin[at(a)] = begin;
        s_.length[at(a)] = s_.degree[at(a)] = static_cast<int>(s_.lists.size()) - begin;
        enqueue(a);
    }

    SparseState& s_;
    std::vector<int> queue_;
    std::vector<Step> steps_;
    std::vector<int> mark_;
    int stamp_ = 0;
};

// The vertices of `names` alone, renumbered in that order. `number` is scratch: -1 for every vertex, before
// and after.
SparseState compact(const SparseState& s, const std::vector<int>& names, std::vector<int>& number) {
    SparseState sub(static_cast<int>(names.size()));
    for (std::size_t i = 0; i < names.size(); ++i) number[at(names[i])] = static_cast<int>(i);
    for (std::size_t i = 0; i < names.size(); ++i) {
        const int v = names[i];
        sub.begin[i] = static_cast<int>(sub.lists.size());
        for (int k = 0; k < s.length[at(v)]; ++k) {
            const int u = s.lists[at(s.begin[at(v)] + k)];
            if (s.alive[at(u)] && number[at(u)] >= 0) sub.lists.push_back(number[at(u)]);
        }
        sub.length[i] = sub.degree[i] = static_cast<int>(sub.lists.size()) - sub.begin[i];
    }
    for (const int v : names) number[at(v)] = -1;
    return sub;
}

// Connected components of what is left, smallest first.
std::vector<std::vector<int>> components(const SparseState& s) {
    std::vector<std::vector<int>> parts;
    std::vector<char> seen(at(s.n()), 0);
    for (int root = 0; root < s.n(); ++root) {
        if (!s.alive[at(root)] || seen[at(root)]) continue;
        std::vector<int> part{root};
        seen[at(root)] = 1;
        for (std::size_t i = 0; i < part.size(); ++i) {
            const int v = part[i];
            for (int k = 0; k < s.length[at(v)]; ++k) {
                const int u = s.lists[at(s.begin[at(v)] + k)];
                if (!s.alive[at(u)] || seen[at(u)]) continue;
                seen[at(u)] = 1;
                part.push_back(u);
            }
        }
        parts.push_back(std::move(part));
    }
    std::stable_sort(parts.begin(), parts.end(),
                     [](const auto& a, const auto& b) { return a.size() < b.size(); });
    return parts;
}

// The number of cliques that cover the vertices, chosen greedily: at most one vertex of each is independent.
int clique_cover(const SparseState& s) {
    std::vector<int> order(at(s.n()));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int u, int v) { return s.degree[at(u)] < s.degree[at(v)]; });
    std::vector<int> clique_index(at(s.n()), -1);
    std::vector<int> size;
    std::vector<int> neighbours_in;
    for (const int v : order) {
        int best = -1;
        for (int k = 0; k < s.length[at(v)]; ++k) {
            const int c = clique_index[at(s.lists[at(s.begin[at(v)] + k)])];
            if (c < 0 || ++neighbours_in[at(c)] < size[at(c)]) continue;
            if (best < 0 || size[at(c)] > size[at(best)]) best = c;
        }
        for (int k = 0; k < s.length[at(v)]; ++k) {
            const int c = clique_index[at(s.lists[at(s.begin[at(v)] + k)])];
            if (c >= 0) neighbours_in[at(c)] = 0;
        }
        if (best < 0) {
            best = static_cast<int>(size.size());
            size.push_back(0);
            neighbours_in.push_back(0);
        }
        clique_index[at(v)] = best;
        ++size[at(best)];
    }
    return static_cast<int>(size.size());
}

Found solve(SparseState state, int lower, int stop_at, Budget& budget);

// The state is connected and reduced: decide on the vertex of largest degree, first leaving it out.
Found decide_one_vertex(const SparseState& state, int lower, int stop_at, int upper, Budget& budget) {
    const int v =
        static_cast<int>(std::max_element(state.degree.begin(), state.degree.end()) - state.degree.begin());
    Found best;
    best.upper = std::max(lower, upper);
    for (const int taken : {0, 1}) {
        SparseState next = state;
        next.alive[at(v)] = 0;
        for (int k = 0; k < state.length[at(v)]; ++k) {
            const int u = state.lists[at(state.begin[at(v)] + k)];
            --next.degree[at(u)];
            if (!taken) continue;
            next.alive[at(u)] = 0;
            for (int l = 0; l < state.length[at(u)]; ++l)
                --next.degree[at(state.lists[at(state.begin[at(u)] + l)])];
        }
        Found found = solve(std::move(next), lower - taken, stop_at - taken, budget);
        if (found.found) {
            if (taken) found.members.push_back(v);
            lower = static_cast<int>(found.members.size());
            best.members = std::move(found.members);
            best.found = true;
            if (lower >= stop_at) return best;
        }
        if (!found.finished) {
            best.finished = false;
            return best;
        }
    }
    best.upper = lower;
    return best;
}

Found solve(SparseState state, int lower, int stop_at, Budget& budget) {
    Found answer;
    answer.upper = std::max(lower, state.n());
    if (!budget.take()) {
        answer.finished = false;
        return answer;
    }
    Reducer reducer(state);
    reducer.run();

    struct Part {
        std::vector<int> names;
        SparseState state;
        int upper;
    };
    std::vector<Part> parts;
    std::vector<int> number(at(state.n()), -1);
    int upper = reducer.gained();
    for (auto& names : components(state)) {
        SparseState sub = compact(state, names, number);
        const int cover = clique_cover(sub);
        upper += cover;
        parts.push_back({std::move(names), std::move(sub), cover});
    }
    answer.upper = std::max(lower, upper);
    if (upper <= lower) return answer;

    // `upper` falls as parts give less than their bounds. A part must give more than lower - others for the
    // whole to exceed `lower`; and, unless it is the only one, it must give its maximum, since the others may
    // fall short.
    std::vector<int> set;
    for (const Part& part : parts) {
        const int others = upper - part.upper;
        const int stop = parts.size() == 1 ? std::min(stop_at - others, part.upper) : part.upper;
        const Found found =
            decide_one_vertex(part.state, std::max(lower - others, 0), stop, part.upper, budget);
        answer.finished = answer.finished && found.finished;
        upper = others + static_cast<int>(found.members.size());
        if (!found.found || upper <= lower) {
            if (answer.finished) answer.upper = lower;
            return answer;
        }
        for (const int v : found.members) set.push_back(part.names[at(v)]);
    }
    reducer.undo(set);
    answer.found = true;
    if (answer.finished && upper < stop_at) answer.upper = upper;
    answer.members = std::move(set);
    return answer;
}

}  // namespace

Found max_independent_set(SparseState state, int lower, int stop_at, Budget& budget) {
    return solve(std::move(state), lower, stop_at, budget);
}

std::vector<int> greedy_independent_set(SparseState state) {
    Reducer reducer(state);
    for (;;) {
        check_interrupt();
        reducer.run();
        int best = -1;
        for (int v = 0; v < state.n(); ++v) {
            if (state.alive[at(v)] && (best < 0 || state.degree[at(v)] < state.degree[at(best)])) best = v;
        }
        if (best < 0) break;
        reducer.take(best);
    }
    std::vector<int> set;
    reducer.undo(set);
    return set;
}

}  // namespace memcore::clique
