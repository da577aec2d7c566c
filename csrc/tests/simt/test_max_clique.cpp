// clique/max_clique.cu on fibers against the CPU solver: same members, sound bounds, under many schedules.
// Arguments: the number of schedules, and 1 to leave out the large graphs. Prints "N passed, M failed".
#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "clique/max_clique.hpp"
#include "cuda/memcore_cuda.h"
#include "tests/simt/graphs.hpp"
#include "tests/simt/simt.hpp"

namespace {

using namespace simt_tests;

constexpr std::uint32_t kUnwritten = 0xCDCDCDCDu;

struct Answer {
    std::vector<int> members;
    std::int64_t lower, upper, proven, nodes;
    bool operator==(const Answer&) const = default;
};

std::vector<Answer> on_fibers(const Graphs& graphs, int min_size, std::int64_t node_limit) {
    // One allocation each, exactly as large as the header says, so that a sanitizer sees each byte beyond.
    const std::vector<std::uint32_t> adjacency = graphs.bits();
    const auto count = static_cast<std::int64_t>(graphs.edges.size());
    std::vector<std::uint32_t> members(graphs.edges.size() * graphs.words(), kUnwritten);
    std::vector<std::int64_t> bounds(graphs.edges.size() * MEMCORE_CUDA_BOUNDS, -1);
    const std::int64_t bytes = memcore_cuda_max_clique_workspace(0, graphs.n, count);
    check(bytes >= 16 && bytes % 8 == 0, "workspace");
    std::vector<std::uint64_t> workspace(static_cast<std::size_t>(bytes) / 8, 0xCDCDCDCDCDCDCDCDu);
    const int error = memcore_cuda_max_clique(0, nullptr, adjacency.data(), graphs.n, count, min_size,
                                              node_limit, members.data(), bounds.data(), workspace.data());
    check(error == 0, "launch");
    // Each warp that ends has drawn a ticket in vain, every graph one that was not.
    const std::uint64_t warps = workspace[0] - graphs.edges.size();
    check(count == 0 || (workspace[0] > graphs.edges.size() && warps % 4 == 0), "each graph was taken once");

    std::vector<Answer> answers;
    for (std::size_t g = 0; g < graphs.edges.size(); ++g) {
        Answer one;
        for (std::size_t w = 0; w < graphs.words(); ++w) {
            for (std::uint32_t bits = members[g * graphs.words() + w]; bits != 0; bits &= bits - 1) {
                one.members.push_back(static_cast<int>(w) * 32 + std::countr_zero(bits));
            }
        }
        const std::int64_t* const b = &bounds[g * MEMCORE_CUDA_BOUNDS];
        one.lower = b[0];
        one.upper = b[1];
        one.proven = b[2];
        one.nodes = b[3];
        answers.push_back(std::move(one));
    }
    return answers;
}

bool is_clique(const Graphs& graphs, std::size_t g, const std::vector<int>& members) {
    std::vector<char> adjacent(static_cast<std::size_t>(graphs.n) * static_cast<std::size_t>(graphs.n));
    const auto at = [&](int u, int v) -> char& {
        return adjacent[static_cast<std::size_t>(u) * static_cast<std::size_t>(graphs.n) +
                        static_cast<std::size_t>(v)];
    };
    for (std::size_t e = 0; e < graphs.edges[g].size(); e += 2)
        at(graphs.edges[g][e], graphs.edges[g][e + 1]) = 1;
    for (std::size_t i = 0; i < members.size(); ++i) {
        for (std::size_t j = i + 1; j < members.size(); ++j) {
            if (!at(members[i], members[j])) return false;
        }
    }
    return true;
}

void compare(const Graphs& graphs, int min_size, const std::string& what) {
    const std::vector<Answer> answers = on_fibers(graphs, min_size, kNoLimit);
    for (std::size_t g = 0; g < answers.size(); ++g) {
        const Clique expected = on_cpu(graphs, g, min_size);
        const Answer& answer = answers[g];
        check(answer.members == expected.members && answer.lower == expected.lower &&
                  answer.upper == expected.upper && answer.proven == 1,
              what + ", graph " + std::to_string(g));
    }
}

void compare_limited(const Graphs& graphs, std::int64_t limit, int min_size, const std::string& what) {
    const std::vector<Answer> answers = on_fibers(graphs, min_size, limit);
    for (std::size_t g = 0; g < answers.size(); ++g) {
        const Clique expected = on_cpu(graphs, g, min_size);
        const Answer& answer = answers[g];
        // Where nothing is as large as min_size, the CPU's bounds are 0 and min_size - 1.
        check(answer.nodes <= limit && answer.lower == static_cast<std::int64_t>(answer.members.size()) &&
                  is_clique(graphs, g, answer.members) && answer.lower <= expected.lower &&
                  expected.lower <= answer.upper &&
                  (answer.proven == 0 || answer.members == expected.members),
              what + " at a limit of " + std::to_string(limit) + ", graph " + std::to_string(g));
    }
}

}  // namespace

int main(int count, char** arguments) {
    const unsigned schedules = count > 1 ? static_cast<unsigned>(std::atoi(arguments[1])) : 4;
    const bool small = count > 2 && std::string(arguments[2]) == "1";
    std::vector<Answer> first;
    for (unsigned schedule = 1; schedule <= schedules; ++schedule) {
        simt::settings().seed = schedule;
        simt::settings().resident = 1 + schedule % 4;
        for (const int n : {1, 2, 5, 31, 32, 33, 40}) {
            const std::string what = "random graphs on " + std::to_string(n);
            const Graphs graphs = random_graphs(n, 9, schedule * 100 + static_cast<unsigned>(n));
            compare(graphs, 0, what);
            compare(graphs, static_cast<int>(schedule % 9) + 2, what + " with a least size");
            compare_limited(graphs, schedule % 7, 0, what);
            compare_limited(graphs, schedule % 11, 4, what + " with a least size");
        }
        compare(known_families(24), 0, "known families");
        // The same graphs in every schedule: not only the members, the nodes too are the same.
        const Graphs fixed = random_graphs(40, 13, 99);
        const std::vector<Answer> again = on_fibers(fixed, 0, 30);
        if (first.empty()) first = again;
        check(again == first, "the same answer in every schedule");
    }
    compare({0, {{}, {}}}, 0, "no vertices");
    compare({0, {}}, 0, "no graphs");
    if (!small) {
        compare(random_graphs(70, 8, 3), 0, "random graphs on 70");
        compare(known_families(65), 0, "known families on 65");
        Graphs prompts{200, {}};
        for (unsigned g = 0; g < 6; ++g)
            prompts.edges.push_back(planted(200, 12 + 4 * static_cast<int>(g), 5, 0.02 * g, g));
        compare(prompts, 10, "prompts");
        // More levels than fit in shared memory: 64 of 24 words each.
        const auto nearly_all = [](int i, int j) { return i % 6 != 0 && j % 6 != 0 && j - i != 1; };
        compare(
            {768, {edges_where(768, [&](int i, int j) { return i < 240 && j < 240 && nearly_all(i, j); })}},
            0, "many levels");
        compare({1024, {planted(1024, 30, 31, 0.0, 5)}}, 10, "1,024 vertices");
        check(memcore_cuda_max_clique_workspace(0, 1025, 1) == -1, "1,025 vertices");
        check(memcore_cuda_max_clique(0, nullptr, nullptr, 1025, 1, 0, 0, nullptr, nullptr, nullptr) == 1,
              "refused");
    }
    std::printf("%d passed, %d failed, %llu switches of fibers\n", passed, failed,
                static_cast<unsigned long long>(simt::settings().switches));
    return failed == 0 ? 0 : 1;
}
