// The fibers of simt.hpp. Compiled without -fsanitize: the sanitizers must not watch the scheduler itself.
#include "tests/simt/simt.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <memory>
#include <numeric>
#include <vector>

#ifdef SIMT_TSAN
extern "C" {
void* __tsan_create_fiber(unsigned);
void __tsan_destroy_fiber(void*);
void __tsan_switch_to_fiber(void*, unsigned);
void* __tsan_get_current_fiber();
void __tsan_acquire(void*);
void __tsan_release(void*);
}
#define FOR_TSAN(statement) statement
#else
#define FOR_TSAN(statement)
#endif
#ifdef SIMT_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define FOR_ASAN(statement) statement
#else
#define FOR_ASAN(statement)
#endif

#if !defined(__x86_64__)
#error "simt needs a switch of stacks for this processor"
#endif

// Saves the registers that a callee must keep and its stack, then resumes where `to` was saved.
extern "C" void simt_switch(void** from, void* to);
asm(R"(
    .text
    .type simt_switch, @function
simt_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size simt_switch, .-simt_switch
    .section .note.GNU-stack, "", @progbits
    .text
)");

namespace simt {
namespace {

constexpr unsigned kLanes = 32;
constexpr unsigned kMaxThreads = 1024;
constexpr std::size_t kStackBytes = 128 << 10;
constexpr std::size_t kGuardBytes = 4096;
constexpr unsigned char kJunk = 0xCD;
constexpr std::array<const char*, 7> kNames = {"running",  "ballot",     "any",          "shuffle",
                                               "syncwarp", "reduce_add", "__syncthreads"};

struct Context {
    void* saved = nullptr;
    void* stack = nullptr;
    void* tsan = nullptr;
    void* asan = nullptr;
};

struct Block;

struct Thread {
    Context context;
    Place place;
    Block* block = nullptr;
    unsigned index = 0;
    bool ended = false;
    // What it waits in, and what that gave.
    Operation operation = Operation::kNone;
    unsigned mask = 0;
    std::int64_t input = 0, output = 0;
    int source_lane = 0;
    const void* site = nullptr;
};

struct Warp {
    unsigned ready = 0;    // lanes that can run
    unsigned arrived = 0;  // lanes that wait in a collective of the warp
};

struct Free {
    void operator()(void* p) const { std::free(p); }
};

struct Block {
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    std::unique_ptr<void, Free> shared;
    unsigned alive = 0;
    unsigned at_barrier = 0;
};

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
    const char* const text = std::getenv(name);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 0);
}

// xorshift64*: one draw is far cheaper than a switch.
struct Random {
    std::uint64_t state = 1;
    unsigned operator()() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return static_cast<unsigned>(state * 0x2545F4914F6CDD1Dull >> 32);
    }
};

Random draw;
Thread* running = nullptr;
Context scheduler;
const std::function<void()>* launched = nullptr;
std::vector<void*> spare_stacks;

[[noreturn]] void stop(const char* why, const Block* block) {
    std::fprintf(stderr, "simt: %s (SIMT_SEED=%llu)\n", why,
                 static_cast<unsigned long long>(settings().seed));
    if (block != nullptr) {
        for (const Thread& thread : block->threads) {
            if (thread.ended) continue;
            std::fprintf(stderr, "  block %u thread %u: %s, mask %08x, called from %p\n",
                         thread.place.block.x, thread.index,
                         kNames[static_cast<std::size_t>(thread.operation)], thread.mask, thread.site);
        }
    }
    std::abort();
}

void switch_to(Context& from, Context& to) {
    ++settings().switches;
    FOR_ASAN(__sanitizer_start_switch_fiber(&from.asan, to.stack, kStackBytes);)
    FOR_TSAN(__tsan_switch_to_fiber(to.tsan, 1);)
    simt_switch(&from.saved, to.saved);
    FOR_ASAN(__sanitizer_finish_switch_fiber(from.asan, nullptr, nullptr);)
}

void yield() {
    Thread* const me = running;
    switch_to(me->context, scheduler);
}

// Where a fiber begins; it never returns, since nothing called it.
void begin() {
    FOR_ASAN({
        std::size_t bytes = 0;
        __sanitizer_finish_switch_fiber(nullptr, const_cast<const void**>(&scheduler.stack), &bytes);
    })
    FOR_TSAN(__tsan_acquire(&launched);)
    (*launched)();
    FOR_TSAN(__tsan_release(&scheduler);)
    Thread* const me = running;
    me->ended = true;
    --me->block->alive;
    me->block->warps[me->index / kLanes].ready &= ~(1u << me->place.lane);
    switch_to(me->context, scheduler);
    std::abort();
}

void* new_stack() {
    if (!spare_stacks.empty()) {
        void* const stack = spare_stacks.back();
        spare_stacks.pop_back();
        FOR_ASAN(ASAN_UNPOISON_MEMORY_REGION(stack, kStackBytes);)
        return stack;
    }
    void* const stack =
        mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED || mprotect(stack, kGuardBytes, PROT_NONE) != 0)
        stop("no memory for a stack", nullptr);
    return stack;
}

void start(Thread& thread) {
    thread.context.stack = new_stack();
    // As simt_switch leaves it: six registers below the address to resume at. The stack is aligned as at a
    // call.
    auto** top = reinterpret_cast<void**>(static_cast<char*>(thread.context.stack) + kStackBytes - 64);
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(&begin);
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    thread.context.saved = top;
    FOR_TSAN(thread.context.tsan = __tsan_create_fiber(0);)
}

void end(Thread& thread) {
    FOR_TSAN({
        // A stack that another fiber would use again shows as a race of the two.
        __tsan_destroy_fiber(thread.context.tsan);
        munmap(thread.context.stack, kStackBytes);
        return;
    })
    spare_stacks.push_back(thread.context.stack);
}

bool open_barrier(Block& block) {
    if (block.at_barrier == 0 || block.at_barrier < block.alive) return false;
    const void* site = nullptr;
    for (Thread& thread : block.threads) {
        if (thread.ended) continue;
        if (site != nullptr && thread.site != site) stop("__syncthreads reached at different places", &block);
        site = thread.site;
    }
    for (Thread& thread : block.threads) {
        if (thread.ended) continue;
        thread.operation = Operation::kNone;
        block.warps[thread.index / kLanes].ready |= 1u << thread.place.lane;
    }
    block.at_barrier = 0;
    return true;
}

// True once all lanes of the mask are there; the last one to come works out what each gets.
bool complete(Block& block, Thread& me) {
    if (me.operation == Operation::kBarrier) return open_barrier(block);
    Warp& warp = block.warps[me.index / kLanes];
    Thread* const lanes = &block.threads[me.index / kLanes * kLanes];
    const auto behind = static_cast<unsigned>(block.threads.size()) - me.index / kLanes * kLanes;
    const unsigned present = std::min(kLanes, behind);
    const auto named = [&](unsigned lane) { return (me.mask >> lane & 1) != 0; };
    for (unsigned lane = 0; lane < kLanes; ++lane) {
        if (named(lane) && lane >= present) stop("a mask names a lane that does not exist", &block);
        if (named(lane) && lanes[lane].ended) stop("a mask names a lane that has ended", &block);
    }
    if ((warp.arrived & me.mask) != me.mask) return false;
    std::int64_t joint = 0;
    for (unsigned lane = 0; lane < present; ++lane) {
        if (!named(lane)) continue;
        const Thread& thread = lanes[lane];
        if (thread.operation != me.operation || thread.mask != me.mask) {
            stop("lanes meet in different collectives or masks", &block);
        }
        switch (me.operation) {
            case Operation::kBallot:
                joint |= thread.input << lane;
                break;
            case Operation::kAny:
                joint |= thread.input;
                break;
            case Operation::kReduceAdd:
                joint += thread.input;
                break;
            default:
                break;
        }
    }
    for (unsigned lane = 0; lane < present; ++lane) {
        if (!named(lane)) continue;
        Thread& thread = lanes[lane];
        thread.output = joint;
        if (me.operation == Operation::kShuffle) {
            const auto source = static_cast<unsigned>(thread.source_lane);
            if (!named(source)) stop("a shuffle reads a lane outside its mask", &block);
            thread.output = lanes[source].input;
        }
    }
    for (unsigned lane = 0; lane < present; ++lane) {
        if (named(lane)) lanes[lane].operation = Operation::kNone;
    }
    warp.arrived &= ~me.mask;
    warp.ready |= me.mask;
    return true;
}

std::unique_ptr<Block> new_block(unsigned number, dim3 grid, dim3 size, std::size_t shared_bytes) {
    auto block = std::make_unique<Block>();
    const unsigned threads = size.x * size.y * size.z;
    // Exactly as large as the launch says, on the heap: ASan sees the first byte beyond it.
    void* shared = nullptr;
    if (posix_memalign(&shared, 128, std::max<std::size_t>(shared_bytes, 1)) != 0) stop("no memory", nullptr);
    std::memset(shared, kJunk, shared_bytes);
    block->shared.reset(shared);
    block->alive = threads;
    block->threads.resize(threads);
    block->warps.resize((threads + kLanes - 1) / kLanes);
    for (unsigned i = 0; i < threads; ++i) {
        Thread& thread = block->threads[i];
        thread.block = block.get();
        thread.index = i;
        thread.place = {dim3(i % size.x, i / size.x % size.y, i / size.x / size.y),
                        dim3(number % grid.x, number / grid.x % grid.y, number / grid.x / grid.y), size, grid,
                        i % kLanes};
        block->warps[i / kLanes].ready |= 1u << i % kLanes;
        start(thread);
    }
    return block;
}

// Runs the block's warps for a while, in an order of its own; a warp may run ahead of the others.
bool advance(Block& block) {
    bool any = false;
    const auto warps = static_cast<unsigned>(block.warps.size());
    const unsigned first = draw() % warps;
    for (unsigned i = 0; i < warps; ++i) {
        const unsigned w = (first + i) % warps;
        const unsigned start_lane = draw();
        const unsigned stride = draw() | 1;
        for (unsigned burst = 1 + draw() % 8; burst > 0 && block.warps[w].ready != 0; --burst) {
            for (unsigned k = 0; k < kLanes; ++k) {
                const unsigned lane = (start_lane + stride * k) % kLanes;
                if ((block.warps[w].ready >> lane & 1) == 0) continue;
                any = true;
                running = &block.threads[w * kLanes + lane];
                switch_to(scheduler, running->context);
                running = nullptr;
            }
        }
    }
    // Threads that ended may have been the last that a barrier waited for.
    return open_barrier(block) || any;
}

}  // namespace

Settings& settings() {
    static Settings all{from_environment("SIMT_SEED", 1),
                        static_cast<unsigned>(from_environment("SIMT_RESIDENT", 2)),
                        227 << 10,
                        0,
                        0,
                        0,
                        0};
    return all;
}

void count_load() { ++settings().loads; }
void count_bits() { ++settings().bit_counts; }

const Place& here() { return running->place; }

void* shared_memory() { return running->block->shared.get(); }

void maybe_yield() {
    if (draw() % 8 == 0) yield();
}

std::int64_t collective(Operation operation, unsigned mask, std::int64_t input, int lane, const void* site) {
    ++settings().collectives;
    Thread& me = *running;
    Block& block = *me.block;
    const unsigned bit = 1u << me.place.lane;
    if (operation != Operation::kBarrier && (mask & bit) == 0) stop("a lane is not in its own mask", &block);
    me.operation = operation;
    me.mask = mask;
    me.input = input;
    me.source_lane = lane;
    me.site = site;
    Warp& warp = block.warps[me.index / kLanes];
    warp.ready &= ~bit;
    if (operation == Operation::kBarrier) {
        ++block.at_barrier;
    } else {
        warp.arrived |= bit;
    }
    FOR_TSAN(void* const order = operation == Operation::kBarrier    ? static_cast<void*>(&block.alive)
                                 : operation == Operation::kSyncWarp ? static_cast<void*>(&warp.arrived)
                                                                     : nullptr;
             if (order != nullptr) __tsan_release(order);)
    if (!complete(block, me)) {
        while (me.operation != Operation::kNone) yield();
    }
    FOR_TSAN(if (order != nullptr) __tsan_acquire(order);)
    return me.output;
}

void launch(dim3 grid, dim3 size, std::size_t shared_bytes, const std::function<void()>& body) {
    const unsigned blocks = grid.x * grid.y * grid.z;
    const unsigned threads = size.x * size.y * size.z;
    if (blocks == 0 || threads == 0 || threads > kMaxThreads || shared_bytes > settings().shared_bytes) {
        stop("a launch that CUDA refuses", nullptr);
    }
    launched = &body;
    draw.state = settings().seed * 0x9E3779B97F4A7C15ull | 1;
    FOR_TSAN(scheduler.tsan = __tsan_get_current_fiber(); __tsan_release(&launched);)
    std::vector<unsigned> order(blocks);
    std::iota(order.begin(), order.end(), 0u);
    for (unsigned i = blocks; i > 1; --i) std::swap(order[i - 1], order[draw() % i]);

    std::vector<std::unique_ptr<Block>> resident;
    // Kept to the end: freeing a block would order it before those that come after it.
    std::vector<std::unique_ptr<Block>> ended;
    unsigned next = 0;
    while (next < blocks || !resident.empty()) {
        while (resident.size() < settings().resident && next < blocks) {
            resident.push_back(new_block(order[next++], grid, size, shared_bytes));
        }
        bool progress = false;
        for (const auto& block : resident) progress |= advance(*block);
        for (std::size_t i = 0; i < resident.size();) {
            if (resident[i]->alive > 0) {
                ++i;
                continue;
            }
            for (Thread& thread : resident[i]->threads) end(thread);
            ended.push_back(std::move(resident[i]));
            resident.erase(resident.begin() + static_cast<std::ptrdiff_t>(i));
            progress = true;
        }
        if (!progress) stop("deadlock", resident.front().get());
    }
    FOR_TSAN(__tsan_acquire(&scheduler);)
    launched = nullptr;
}

}  // namespace simt
