// Tests of csrc/clique without Python, for the sanitizers. Prints "N passed, M failed"; exit status 1 where
// any failed.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "clique/max_clique.hpp"

namespace {

using memcore::clique::Clique;
using memcore::clique::EdgeList;

constexpr std::int64_t kNoLimit = std::int64_t{1} << 40;

int passed = 0;
int failed = 0;

void check(bool holds, const std::string& what) {
    holds ? ++passed : ++failed;
    if (!holds) std::printf("FAILED: %s\n", what.c_str());
}

struct TestGraph {
    int n;
    std::vector<std::int32_t> edges;

    explicit TestGraph(int vertices) : n(vertices) {}
    template <class Adjacent>
    TestGraph(int vertices, Adjacent&& adjacent) : n(vertices) {
        for (int i = 0; i < n; ++i) {
            for (int j = i + 1; j < n; ++j) {
                if (adjacent(i, j)) add(i, j);
            }
        }
    }
    void add(int i, int j) {
        edges.push_back(i);
        edges.push_back(j);
    }
    EdgeList list() const { return {n, edges.data(), static_cast<std::int64_t>(edges.size() / 2)}; }
};

TestGraph random_graph(int n, double p, unsigned seed) {
    std::mt19937 random(seed);
    return TestGraph(n, [&](int, int) { return random() < p * 4294967296.0; });
}

// Enumeration of all subsets: the lexicographically smallest among the largest. Bit n-1-v stands for vertex
// v, so that of two sets of one size the larger number is the lexicographically smaller list.
std::vector<int> brute_force(const TestGraph& graph) {
    std::vector<std::uint32_t> neighbours(static_cast<std::size_t>(graph.n));
    const auto bit = [&](int v) { return std::uint32_t{1} << (graph.n - 1 - v); };
    for (std::size_t e = 0; e < graph.edges.size(); e += 2) {
        neighbours[static_cast<std::size_t>(graph.edges[e])] |= bit(graph.edges[e + 1]);
        neighbours[static_cast<std::size_t>(graph.edges[e + 1])] |= bit(graph.edges[e]);
    }
    std::uint32_t best = 0;
    for (std::uint32_t set = 0; set < std::uint32_t{1} << graph.n; ++set) {
        if (std::popcount(set) < std::popcount(best)) continue;
        bool clique = true;
        for (int v = 0; v < graph.n && clique; ++v) {
            clique = (set & bit(v)) == 0 || (set & ~bit(v) & ~neighbours[static_cast<std::size_t>(v)]) == 0;
        }
        if (clique) best = set;
    }
    std::vector<int> members;
    for (int v = 0; v < graph.n; ++v) {
        if (best & bit(v)) members.push_back(v);
    }
    return members;
}

// Members ascend, and as many edges lie among them as there are pairs. The graph's edges must not repeat.
bool is_clique(const TestGraph& graph, const std::vector<int>& members) {
    std::vector<bool> chosen(static_cast<std::size_t>(graph.n));
    for (const int v : members) chosen[static_cast<std::size_t>(v)] = true;
    std::size_t edges = 0;
    for (std::size_t e = 0; e < graph.edges.size(); e += 2) {
        edges += chosen[static_cast<std::size_t>(graph.edges[e])] &&
                 chosen[static_cast<std::size_t>(graph.edges[e + 1])];
    }
    return std::is_sorted(members.begin(), members.end()) &&
           std::adjacent_find(members.begin(), members.end()) == members.end() &&
           (members.empty() || 2 * edges == members.size() * (members.size() - 1));
}

Clique solve(const TestGraph& graph, std::int64_t node_limit = kNoLimit, int min_size = 0) {
    return memcore::clique::max_clique(graph.list(), node_limit, min_size);
}

void check_size(const TestGraph& graph, int size, const std::string& what) {
    const Clique clique = solve(graph);
    check(clique.proven && clique.lower == size && clique.upper == size &&
              static_cast<int>(clique.members.size()) == size && is_clique(graph, clique.members),
          what + ": got " + std::to_string(clique.lower) + ".." + std::to_string(clique.upper));
}

void test_against_enumeration() {
    std::mt19937 random(1);
    for (unsigned round = 0; round < 3000; ++round) {
        const int n = static_cast<int>(random() % 13);
        const double p = 0.1 * static_cast<double>(1 + random() % 9);
        const TestGraph graph = random_graph(n, p, round);
        const std::vector<int> expected = brute_force(graph);
        const int size = static_cast<int>(expected.size());
        const std::string what = "random graph " + std::to_string(round);

        const Clique clique = solve(graph);
        check(clique.members == expected && clique.proven && clique.lower == size && clique.upper == size,
              what);

        const Clique limited = solve(graph, static_cast<std::int64_t>(random() % 6));
        check(limited.lower <= size && size <= limited.upper && is_clique(graph, limited.members) &&
                  (!limited.proven || limited.members == expected),
              what + " with a node limit");

        const int min_size = static_cast<int>(random() % 9);
        const Clique floored = solve(graph, kNoLimit, min_size);
        check(floored.proven && (size >= min_size ? floored.members == expected
                                                  : floored.members.empty() && floored.upper == min_size - 1),
              what + " with a least size");

        // Repetitions and any order of edges.
        TestGraph shuffled = graph;
        std::vector<std::pair<int, int>> pairs;
        for (std::size_t e = 0; e < graph.edges.size(); e += 2)
            pairs.emplace_back(graph.edges[e], graph.edges[e + 1]);
        pairs.insert(pairs.end(), pairs.begin(),
                     pairs.begin() + static_cast<std::ptrdiff_t>(pairs.size() / 2));
        std::shuffle(pairs.begin(), pairs.end(), random);
        shuffled.edges.clear();
        for (const auto& [i, j] : pairs) shuffled.add(i, j);
        check(solve(shuffled).members == expected, what + " shuffled");
    }
}

// A clique of ten beside hubs of much higher degree: whoever starts at the hubs answers a small clique.
void test_hub_trap() {
    TestGraph graph(500, [](int i, int j) {
        const bool hub = i < 4;
        return hub ? (j >= 20 && j % 4 == i) : (i >= 10 && i < 20 && j < 20);
    });
    check_size(graph, 10, "hub trap");
    check(solve(graph).members.front() == 10, "hub trap members");
}

void test_known_families() {
    for (const int n : {1, 2, 63, 64, 65, 500, 513}) {
        check_size(TestGraph(n, [](int, int) { return true; }), n, "complete " + std::to_string(n));
    }
    check_size(TestGraph(100), 1, "no edges");
    check(solve(TestGraph(100)).members == std::vector<int>{0}, "no edges: first vertex");
    check(solve(TestGraph(0)).members.empty() && solve(TestGraph(0)).proven, "no vertices");

    const TestGraph cocktail(200, [](int i, int j) { return i / 2 != j / 2; });
    check_size(cocktail, 100, "cocktail party");
    bool even = true;
    for (const int v : solve(cocktail).members) even = even && v % 2 == 0;
    check(even, "cocktail party: the smaller of each pair");

    const auto hamming = [](int bits, int distance) {
        return TestGraph(
            1 << bits, [=](int i, int j) { return std::popcount(static_cast<unsigned>(i ^ j)) >= distance; });
    };
    check_size(hamming(6, 4), 4, "hamming6-4");
    check_size(hamming(6, 2), 32, "hamming6-2");
    check_size(hamming(8, 4), 16, "hamming8-4");
    check_size(hamming(8, 2), 128, "hamming8-2");
    check_size(hamming(10, 2), 512, "hamming10-2");

    const auto johnson = [](int n, int weight, int distance) {
        std::vector<unsigned> words;
        for (unsigned x = 0; x < 1u << n; ++x) {
            if (std::popcount(x) == weight) words.push_back(x);
        }
        return TestGraph(static_cast<int>(words.size()), [=](int i, int j) {
            return std::popcount(words[static_cast<std::size_t>(i)] ^ words[static_cast<std::size_t>(j)]) >=
                   distance;
        });
    };
    check_size(johnson(8, 2, 4), 4, "johnson8-2-4");
    check_size(johnson(8, 4, 4), 14, "johnson8-4-4");
    check_size(johnson(16, 2, 4), 8, "johnson16-2-4");

    // Paley graph: i and j adjacent where their difference is a square.
    const auto paley = [](int q) {
        std::vector<bool> square(static_cast<std::size_t>(q));
        for (int x = 1; x < q; ++x) square[static_cast<std::size_t>(x * x % q)] = true;
        return TestGraph(q, [=](int i, int j) { return square[static_cast<std::size_t>(j - i)]; });
    };
    check_size(paley(13), 3, "Paley 13");
    check_size(paley(17), 3, "Paley 17");
    check_size(paley(101), 5, "Paley 101");

    // Complements of cycles: floor(n / 2), every vertex of degree two in the complement.
    for (const int n : {5, 6, 7, 99, 100}) {
        check_size(TestGraph(n, [=](int i, int j) { return j - i != 1 && j - i != n - 1; }), n / 2,
                   "co-cycle");
    }
    // Complement of the 7 x 7 queens-like grid of rows and columns: a clique is a set of cells with no shared
    // line.
    check_size(TestGraph(49, [](int i, int j) { return i / 7 != j / 7 && i % 7 != j % 7; }), 7,
               "rook complement");
}

// More vertices than the bit rows and the branching kernel take at once.
void test_large() {
    std::mt19937 random(5);
    TestGraph sparse(20000);
    for (int i = 0; i < 40000; ++i) {
        const int u = static_cast<int>(random() % 20000);
        const int v = static_cast<int>(random() % 20000);
        if (u != v) sparse.add(std::min(u, v), std::max(u, v));
    }
    for (int i = 0; i < 12; ++i) {
        for (int j = i + 1; j < 12; ++j) sparse.add(i * 1500, j * 1500);
    }
    check(solve(sparse).lower == 12 && solve(sparse).proven, "12-clique among 20,000");

    // The 3-core has 6,000 vertices: triangulated ring, largest clique 3; one planted larger clique must be
    // canonical.
    TestGraph ring(6000);
    const auto link = [&](int i, int j) {
        ring.add(std::min(i % 6000, j % 6000), std::max(i % 6000, j % 6000));
    };
    for (int i = 0; i < 6000; ++i) {
        link(i, i + 1);
        link(i, i + 2);
    }
    Clique clique = solve(ring);
    check(clique.proven && clique.members == std::vector<int>({0, 1, 2}), "ring of triangles: canonical");
    link(3000, 3003);
    link(3001, 3003);
    link(3000, 3002);
    clique = solve(ring);
    check(clique.proven && clique.members == std::vector<int>({3000, 3001, 3002, 3003}),
          "ring with one clique of four");

    // Above 512 vertices and not sparse: split before branching.
    const TestGraph wide = random_graph(900, 0.12, 3);
    const Clique found = solve(wide);
    check(found.proven && is_clique(wide, found.members), "900 vertices");
    const Clique again = solve(wide);
    check(again.members == found.members && again.nodes == found.nodes, "same members, same nodes");
}

void test_find_cliques() {
    // Three disjoint cliques of 12, 20 and 12 and noise: largest first, ties by the smaller vertex.
    const auto group = [](int v) { return v < 12 ? 0 : v < 32 ? 1 : v < 44 ? 2 : 3 + v; };
    TestGraph graph(120, [&](int i, int j) { return group(i) == group(j) || (i + j) % 61 == 0; });
    const auto cliques = memcore::clique::find_cliques(graph.list(), 10, kNoLimit);
    check(cliques.size() == 3, "three cliques");
    if (cliques.size() != 3) return;
    check(cliques[0].members.front() == 12 && cliques[0].members.size() == 20, "largest first");
    check(cliques[1].members.front() == 0 && cliques[2].members.front() == 32, "ties by the smaller vertex");
    std::vector<int> all;
    for (const Clique& c : cliques) all.insert(all.end(), c.members.begin(), c.members.end());
    std::sort(all.begin(), all.end());
    check(std::adjacent_find(all.begin(), all.end()) == all.end(), "disjoint");
    Clique rest;
    check(memcore::clique::find_cliques(graph.list(), 21, kNoLimit, &rest).empty() && rest.upper == 20,
          "none of 21");
    // Without nodes to spend, what might be left has a bound that holds.
    const TestGraph hard = random_graph(90, 0.8, 4);
    const std::size_t largest = solve(hard).members.size();
    const int too_large = static_cast<int>(largest) + 1;
    check(memcore::clique::find_cliques(hard.list(), too_large, 0, &rest).empty() && rest.upper >= too_large,
          "unproven that none is left");
    check(memcore::clique::find_cliques(hard.list(), too_large, kNoLimit, &rest).empty() &&
              rest.upper < too_large,
          "proven that none is left");
}

void test_batch() {
    std::vector<TestGraph> graphs;
    for (unsigned g = 0; g < 60; ++g) graphs.push_back(random_graph(static_cast<int>(g), 0.6, g));
    std::vector<EdgeList> lists;
    for (const TestGraph& graph : graphs) lists.push_back(graph.list());
    for (const int threads : {1, 2, 7}) {
        const auto answers = memcore::clique::max_cliques(lists, kNoLimit, 0, threads);
        bool same = answers.size() == graphs.size();
        for (std::size_t g = 0; same && g < graphs.size(); ++g) {
            const Clique one = solve(graphs[g]);
            same = one.members == answers[g].members && one.nodes == answers[g].nodes;
        }
        check(same, "batch on " + std::to_string(threads) + " threads");
    }
}

void test_bounds() {
    for (const double p : {0.3, 0.7, 0.9, 0.97}) {
        const TestGraph graph = random_graph(90, p, 11);
        const Clique truth = solve(graph);
        check(truth.proven, "proven without a limit");
        for (const std::int64_t limit : {0, 1, 2, 5, 20, 100}) {
            const Clique clique = solve(graph, limit);
            check(clique.lower <= truth.lower && truth.lower <= clique.upper && clique.nodes <= limit &&
                      is_clique(graph, clique.members) && (!clique.proven || clique.members == truth.members),
                  "bounds at a limit of " + std::to_string(limit));
        }
    }
    const TestGraph graph(5, [](int, int) { return true; });
    TestGraph bad(4);
    for (const auto& [i, j] : {std::pair{-1, 2}, {2, 2}, {3, 1}, {0, 4}}) {
        bad.edges = {0, 1, i, j};
        check(memcore::clique::first_bad_edge(bad.list()) == 1, "bad edge");
    }
    check(memcore::clique::first_bad_edge(graph.list()) == -1, "good edges");
}

}  // namespace

int main() {
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    test_against_enumeration();
    test_hub_trap();
    test_known_families();
    test_large();
    test_find_cliques();
    test_batch();
    test_bounds();
    std::printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
