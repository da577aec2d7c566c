// clique/has_clique.cu on fibers against the CPU solver: the same answers and numbers of edges, under many
// schedules; and how much less it does than clique/max_clique.cu where there is no core. Arguments: the
// number of schedules, and 1 to leave out the large graphs. Prints "N passed, M failed".
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "cuda/memcore_cuda.h"
#include "tests/simt/graphs.hpp"
#include "tests/simt/simt.hpp"

namespace {

using namespace simt_tests;

struct Answer {
    int verdict, edges;
    bool operator==(const Answer&) const = default;
};

// The graphs that `slots` names, all where it is empty.
std::vector<Answer> on_fibers(const Graphs& graphs, int min_size, std::int64_t node_limit,
                              const std::vector<std::int32_t>& slots = {}) {
    const std::vector<std::uint32_t> adjacency = graphs.bits();
    const std::size_t count = slots.empty() ? graphs.edges.size() : slots.size();
    std::vector<std::int32_t> answers(2 * count, -1);
    const std::int64_t bytes = memcore_cuda_has_clique_workspace(graphs.n, static_cast<std::int64_t>(count));
    check(bytes >= 16 && bytes % 8 == 0, "workspace");
    std::vector<std::uint64_t> workspace(static_cast<std::size_t>(bytes) / 8, 0xCDCDCDCDCDCDCDCDu);
    const int error = memcore_cuda_has_clique(
        0, nullptr, adjacency.data(), slots.empty() ? nullptr : slots.data(), graphs.n,
        static_cast<std::int64_t>(count), min_size, node_limit, answers.data(), workspace.data());
    check(error == 0, "launch");
    // Each block that ends has drawn a ticket in vain, every listed graph one that was not; there are as many
    // blocks as graphs, or as the three multiprocessors hold.
    const std::uint64_t in_vain = workspace[1] - workspace[0];
    check(count == 0 || workspace[1] == 0 || in_vain == count || (in_vain < count && in_vain % 3 == 0),
          "each graph was taken once");
    std::vector<Answer> found;
    for (std::size_t g = 0; g < count; ++g) found.push_back({answers[2 * g], answers[2 * g + 1]});
    return found;
}

void compare(const Graphs& graphs, int min_size, const std::string& what) {
    const std::vector<Answer> answers = on_fibers(graphs, min_size, kNoLimit);
    for (std::size_t g = 0; g < answers.size(); ++g) {
        const int expected = on_cpu(graphs, g, 0).lower >= min_size ? MEMCORE_CUDA_SOME : MEMCORE_CUDA_NONE;
        check(answers[g] == Answer{expected, static_cast<int>(graphs.edges[g].size() / 2)},
              what + " of " + std::to_string(min_size) + ", graph " + std::to_string(g));
    }
}

// Each graph by itself, asked for its largest clique and for one more.
void compare_at_its_size(const Graphs& graphs, const std::string& what) {
    for (std::size_t g = 0; g < graphs.edges.size(); ++g) {
        const Graphs one{graphs.n, {graphs.edges[g]}};
        const int size = static_cast<int>(on_cpu(one, 0, 0).lower);
        compare(one, size, what + " at its size, " + std::to_string(g));
        compare(one, size + 1, what + " above its size, " + std::to_string(g));
    }
}

// A limit leaves open or answers right, alike in every schedule.
std::vector<Answer> compare_limited(const Graphs& graphs, int min_size, std::int64_t limit) {
    const std::vector<Answer> answers = on_fibers(graphs, min_size, limit);
    for (std::size_t g = 0; g < answers.size(); ++g) {
        const int truth = on_cpu(graphs, g, 0).lower >= min_size ? MEMCORE_CUDA_SOME : MEMCORE_CUDA_NONE;
        check(answers[g].verdict == MEMCORE_CUDA_OPEN || answers[g].verdict == truth,
              "a limit of " + std::to_string(limit) + ", graph " + std::to_string(g));
    }
    return answers;
}

std::uint64_t lane_steps() {
    const simt::Settings& all = simt::settings();
    return all.loads + all.collectives + all.bit_counts;
}

// What an audit asks of nearly every prompt: a few edges, no core. Lanes' loads, collectives and counts of
// bits of the decision against those of the solver, which was what decided before.
void compare_work(int graphs) {
    Graphs sparse{500, {}};
    for (int g = 0; g < graphs; ++g)
        sparse.edges.push_back(planted(500, 5, 90, 0.0, static_cast<unsigned>(g)));
    simt::Settings& all = simt::settings();
    const std::uint64_t loads_before = all.loads;
    const std::uint64_t before = lane_steps();
    const std::vector<Answer> answers = on_fibers(sparse, 10, 4096);
    const std::uint64_t decision = lane_steps() - before;
    const std::uint64_t decision_loads = all.loads - loads_before;
    for (const Answer& answer : answers) check(answer.verdict == MEMCORE_CUDA_NONE, "no core");

    const std::vector<std::uint32_t> adjacency = sparse.bits();
    std::vector<std::uint32_t> members(sparse.edges.size() * sparse.words());
    std::vector<std::int64_t> bounds(sparse.edges.size() * MEMCORE_CUDA_BOUNDS);
    const std::int64_t bytes = memcore_cuda_max_clique_workspace(0, 500, graphs);
    std::vector<std::uint64_t> workspace(static_cast<std::size_t>(bytes) / 8);
    const std::uint64_t solver_loads_before = all.loads;
    const std::uint64_t solver_before = lane_steps();
    check(memcore_cuda_max_clique(0, nullptr, adjacency.data(), 500, graphs, 10, 4096, members.data(),
                                  bounds.data(), workspace.data()) == 0,
          "launch of the solver");
    const std::uint64_t solver = lane_steps() - solver_before;
    const std::uint64_t solver_loads = all.loads - solver_loads_before;
    std::printf(
        "%d graphs of 500 without a core, lanes' steps a graph: %.0f (loads %.0f) decided, %.0f (loads "
        "%.0f) solved: 1/%.1f (loads 1/%.1f)\n",
        graphs, double(decision) / graphs, double(decision_loads) / graphs, double(solver) / graphs,
        double(solver_loads) / graphs, double(solver) / double(decision),
        double(solver_loads) / double(decision_loads));
    check(10 * decision <= solver, "a tenth of the solver's work");
}

}  // namespace

int main(int count, char** arguments) {
    const unsigned schedules = count > 1 ? static_cast<unsigned>(std::atoi(arguments[1])) : 4;
    const bool small = count > 2 && std::string(arguments[2]) == "1";
    std::vector<Answer> first;
    for (unsigned schedule = 1; schedule <= schedules; ++schedule) {
        simt::settings().seed = schedule;
        simt::settings().resident = 1 + schedule % 4;
        for (const int n : {1, 2, 5, 31, 32, 33, 40, 70}) {
            const Graphs graphs = random_graphs(n, 9, schedule * 100 + static_cast<unsigned>(n));
            for (const int min_size : {0, 1, 2, 3, 4, 5, 7, 10})
                if (n < 40 || min_size == 5 || min_size == static_cast<int>(schedule % 5) + 6)
                    compare(graphs, min_size, "random graphs on " + std::to_string(n));
        }
        for (const int n : {33, 70, 129}) {
            Graphs sparse = random_graphs(n, 6, schedule * 7 + static_cast<unsigned>(n));
            sparse.edges.resize(4);
            compare_at_its_size(sparse, "random graphs on " + std::to_string(n));
        }
        compare_at_its_size(known_families(24), "known families");
        // One clique that reaches the last word, and no other of its size.
        compare_at_its_size({70, {planted(70, 14, 5, 0.0, schedule)}}, "a planted clique");
        const Graphs fixed = random_graphs(40, 13, 99);
        const std::vector<Answer> again = compare_limited(fixed, 8, 30);
        if (first.empty()) first = again;
        check(again == first, "the same answer in every schedule");
        check(std::any_of(first.begin(), first.end(),
                          [](const Answer& answer) { return answer.verdict == MEMCORE_CUDA_OPEN; }),
              "a limit that is reached");
        // Rows that shared memory has no room for; then not even the levels have: the first launch alone
        // answers.
        simt::settings().shared_bytes = 2 << 10;
        compare(random_graphs(100, 5, schedule), 6, "rows in device memory");
        simt::settings().shared_bytes = 1 << 10;
        const std::vector<Answer> open = compare_limited(random_graphs(70, 9, schedule), 10, kNoLimit);
        check(open.front().verdict == MEMCORE_CUDA_NONE && open.back().verdict == MEMCORE_CUDA_OPEN,
              "no room for the levels");
        simt::settings().shared_bytes = 227 << 10;
    }
    compare({0, {{}, {}}}, 0, "no vertices");
    compare({0, {{}, {}}}, 1, "no vertices");
    compare({0, {}}, 3, "no graphs");
    const Graphs some = random_graphs(33, 6, 5);
    const std::vector<Answer> all = on_fibers(some, 5, kNoLimit);
    check(on_fibers(some, 5, kNoLimit, {4, 1, 4}) == std::vector<Answer>{all[4], all[1], all[4]}, "slots");
    check(memcore_cuda_has_clique_workspace(1025, 1) == -1, "1,025 vertices");
    check(memcore_cuda_has_clique(0, nullptr, nullptr, nullptr, 1025, 1, 0, 0, nullptr, nullptr) == 1,
          "refused");
    compare_work(small ? 8 : 64);
    if (!small) {
        Graphs prompts{200, {}};
        for (unsigned g = 0; g < 6; ++g)
            prompts.edges.push_back(planted(200, 12 + 4 * static_cast<int>(g), 5, 0.02 * g, g));
        compare(prompts, 10, "prompts");
        compare_at_its_size(prompts, "prompts");
        compare({1024, {planted(1024, 30, 31, 0.0, 5)}}, 10, "1,024 vertices");
        // A model that has collapsed: nearly all pairs are edges. Each first vertex leads to a clique in a
        // few nodes, but its share of a small limit is less.
        const auto nearly_all = [](int i, int j) { return (7 * i + 13 * j) % 11 != 0; };
        const std::vector<Answer> dense = on_fibers({500, {edges_where(500, nearly_all)}}, 10, 4096);
        check(dense[0].verdict == MEMCORE_CUDA_SOME, "nearly complete");
    }
    std::printf("%d passed, %d failed, %llu switches of fibers\n", passed, failed,
                static_cast<unsigned long long>(simt::settings().switches));
    return failed == 0 ? 0 : 1;
}
