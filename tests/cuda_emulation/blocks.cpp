/* Runs the blocks of a kernel one after another, and the threads of a block as fibers that take turns at
 * barriers and shuffles. Every other block, and after every other barrier, the order of the threads is turned
 * round, so that a missing barrier shows whichever way it matters. */
#include "internal.h"

#include <setjmp.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <deque>

extern "C" {
uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;
char *emulated_dynamic_shared;

void emulated_barrier(void);
unsigned long long emulated_exchange(unsigned mask, unsigned from, unsigned long long value);
unsigned emulated_lane(void);
}

namespace emulation {
namespace {

enum { STACK_BYTES = 1 << 17, PAGE_BYTES = 4096 };

/* Where a stack is left, and what AddressSanitizer wants to be told of it. */
struct Place {
    jmp_buf registers;
    const void *stack;
    size_t stack_bytes;
    void *kept;
};

struct Fiber {
    Place place;
    unsigned thread; /* that it runs */
    uint3 index;
};

enum ThreadState { NOT_STARTED, RUNNING, AT_BARRIER, AT_EXCHANGE, ENDED };

struct Lane {
    unsigned mask, from;
    unsigned long long value, received;
};

/* Bits of lanes: at a shuffle; ended, or never there. */
struct Warp {
    unsigned waiting, ended;
};

struct Block {
    const Launch *launch = nullptr;
    void *call = nullptr;
    unsigned threads = 0, started = 0, ended = 0, waiting = 0; /* waiting: at the barrier */
    bool reversed = false;
    ThreadState states[MAX_THREADS];
    Fiber *fibers[MAX_THREADS]; /* of started threads */
    Lane lanes[MAX_THREADS];
    Warp warps[MAX_THREADS / WARP];
    uint3 indices[MAX_THREADS];
};

Block block;
Fiber *current;               /* NULL: not in a kernel */
Place outside;                /* where run_block waits */
Place *left;                  /* last of all */
std::deque<Fiber> fibers;     /* all of them */
std::vector<Fiber *> idle;    /* without a thread */
std::deque<Fiber *> runnable; /* in the middle of a thread, free to go on */
std::vector<Fiber *> at_barrier;
Fiber *starting;

/* To be called before a stack is left and after another one, or this one again, was gone to. */
void leave(Place *from, const Place *to) {
    left = from;
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&from->kept, to->stack, to->stack_bytes);
#else
    (void)to;
#endif
}

void arrive(const Place *at) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(at->kept, &left->stack, &left->stack_bytes);
#else
    (void)at;
#endif
}

/* Not sanitized: what it does before a function that does not return is done by _longjmp already. */
__attribute__((no_sanitize("address"))) void go_to(Place *from, Fiber *fiber) {
    Place *to = fiber ? &fiber->place : &outside;
    current = fiber;
    if (fiber)
        threadIdx = fiber->index;
    run_as(fiber ? fiber->thread : NO_THREAD);
    leave(from, to);
    _longjmp(to->registers, 1);
}

void run_threads(Fiber *self);

/* ---- fibers ---- */

/* Entered once; a fiber then never ends, but is idle between threads. */
void fiber_main() {
    Fiber *self = starting;
    arrive(&self->place);
    if (_setjmp(self->place.registers) == 0)
        go_to(&self->place, nullptr);
    arrive(&self->place);
    for (;;)
        run_threads(self);
}

/* Stacks start at different places of a page, or all would meet in the same lines of the cache. */
Fiber *new_fiber() {
    enum { COLOURS = 16, COLOUR_BYTES = 256 };
    static unsigned colours;
    fibers.emplace_back();
    Fiber *fiber = &fibers.back();
    void *memory = mmap(nullptr, STACK_BYTES + PAGE_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, PAGE_BYTES, PROT_NONE) != 0)
        fail("no memory for the stack of a thread");
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = static_cast<char *>(memory) + PAGE_BYTES;
    context.uc_stack.ss_size = STACK_BYTES - colours++ % COLOURS * COLOUR_BYTES;
    context.uc_link = nullptr;
    makecontext(&context, fiber_main, 0);
    fiber->place.stack = context.uc_stack.ss_sp;
    fiber->place.stack_bytes = context.uc_stack.ss_size;
    starting = fiber;
    if (_setjmp(outside.registers) == 0) {
        leave(&outside, &fiber->place);
        setcontext(&context);
    }
    arrive(&outside);
    return fiber;
}

std::string describe_wait() {
    unsigned counts[ENDED + 1] = {};
    for (unsigned i = 0; i < block.threads; i++)
        counts[block.states[i]]++;
    char text[128];
    snprintf(text, sizeof text, "%u at a barrier, %u at a shuffle, %u ended", counts[AT_BARRIER],
             counts[AT_EXCHANGE], counts[ENDED]);
    return text;
}

/* Takes the fiber that goes on; NULL: all threads have ended. Inlined, its variable would be around a setjmp.
 */
__attribute__((noinline)) Fiber *take_next() {
    Fiber *next = nullptr;
    if (block.started < block.threads && !idle.empty()) {
        next = idle.back();
        idle.pop_back();
    } else if (!runnable.empty()) {
        next = runnable.front();
        runnable.pop_front();
    } else if (block.ended < block.threads) {
        fail("%s: its threads wait for each other for ever: %s", running_where().c_str(),
             describe_wait().c_str());
    }
    return next;
}

/* Leaves this fiber for what can go on; comes back when it is resumed. */
void give_way(Fiber *self) {
    if (_setjmp(self->place.registers) == 0)
        go_to(&self->place, take_next());
    arrive(&self->place);
}

/* ---- barriers and shuffles ---- */

void release_barrier() {
    if (block.waiting == 0 || block.waiting + block.ended < block.threads)
        return;
    block.waiting = 0;
    block.reversed = !block.reversed;
    if (block.reversed)
        std::reverse(at_barrier.begin(), at_barrier.end());
    for (Fiber *fiber : at_barrier) {
        block.states[fiber->thread] = RUNNING;
        runnable.push_back(fiber);
    }
    at_barrier.clear();
    begin_epoch();
}

/* Lets the lanes of `mask` go on if all that have not ended are there. */
void release_exchange(unsigned first, unsigned mask) {
    Warp &warp = block.warps[first / WARP];
    const unsigned waited_for = mask & ~warp.ended;
    if (waited_for == 0 || (warp.waiting & waited_for) != waited_for)
        return;
    Lane *lanes = block.lanes + first;
    for (unsigned rest = waited_for; rest; rest &= rest - 1) {
        Lane &lane = lanes[__builtin_ctz(rest)];
        if (lane.mask != mask)
            fail("%s: a shuffle of lanes %08x meets one of %08x", running_where().c_str(), mask, lane.mask);
        bool there = lane.from < WARP && waited_for >> lane.from & 1;
        lane.received = there ? lanes[lane.from].value : ~0ull;
    }
    warp.waiting &= ~waited_for;
    for (unsigned rest = waited_for; rest; rest &= rest - 1) {
        unsigned thread = first + (unsigned)__builtin_ctz(rest);
        block.states[thread] = RUNNING;
        runnable.push_back(block.fibers[thread]);
    }
}

/* ---- threads ---- */

void end_thread(unsigned thread) {
    const unsigned first = thread / WARP * WARP;
    Warp &warp = block.warps[thread / WARP];
    block.states[thread] = ENDED;
    block.ended++;
    warp.ended |= 1u << thread % WARP;
    release_barrier();
    for (unsigned rest = warp.waiting; rest; rest &= rest - 1)
        if (warp.waiting & rest & -rest)
            release_exchange(first, block.lanes[first + (unsigned)__builtin_ctz(rest)].mask);
}

/* One thread after another while there are new ones. Then this fiber is idle: on. */
void run_threads(Fiber *self) {
    while (block.started < block.threads) {
        unsigned order = block.started++;
        unsigned thread = block.reversed ? block.threads - 1 - order : order;
        self->thread = thread;
        self->index = threadIdx = block.indices[thread];
        block.fibers[thread] = self;
        block.states[thread] = RUNNING;
        run_as(thread);
        block.launch->run_thread(block.call);
        end_thread(thread);
    }
    idle.push_back(self);
    give_way(self);
}

/* ---- blocks ---- */

enum { SHARED_BYTES = (SHARED_OPT_IN + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES };

/* Ends at a page that cannot be touched. */
char *shared_end() {
    static char *end;
    if (!end) {
        void *memory = mmap(nullptr, SHARED_BYTES + PAGE_BYTES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            fail("no memory for shared memory");
        end = static_cast<char *>(memory) + SHARED_BYTES;
        if (mprotect(end, PAGE_BYTES, PROT_NONE) != 0)
            fail("shared memory cannot be guarded");
    }
    return end;
}

void run_block(bool reversed) {
    enum { ALIGNMENT = 16 };
    size_t bytes = (block.launch->shared_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    emulated_dynamic_shared = shared_end() - bytes;
    memset(emulated_dynamic_shared, 0xff, bytes);
    poison_static_shared();
    begin_block();
    block.started = block.ended = block.waiting = 0;
    block.reversed = reversed;
    std::fill(block.states, block.states + block.threads, NOT_STARTED);
    for (unsigned first = 0; first < block.threads; first += WARP)
        block.warps[first / WARP] = {0, block.threads - first < WARP ? ~0u << (block.threads - first) : 0};
    while (idle.size() < block.threads)
        idle.push_back(new_fiber());
    Fiber *first = idle.back();
    idle.pop_back();
    if (_setjmp(outside.registers) == 0)
        go_to(&outside, first);
    arrive(&outside);
}

} // namespace

void run_grid(const Launch &launch, void *call) {
    blockDim = launch.block;
    gridDim = launch.grid;
    block.launch = &launch;
    block.call = call;
    block.threads = launch.block.x * launch.block.y * launch.block.z;
    for (unsigned thread = 0; thread < block.threads; thread++)
        block.indices[thread] = {thread % blockDim.x, thread / blockDim.x % blockDim.y,
                                 thread / (blockDim.x * blockDim.y)};
    bool reversed = false;
    begin_launch(shared_end() - SHARED_BYTES, SHARED_BYTES);
    for (blockIdx.z = 0; blockIdx.z < gridDim.z; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < gridDim.y; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < gridDim.x; blockIdx.x++) {
                run_block(reversed);
                reversed = !reversed;
            }
    end_launch();
}

std::string running_where() {
    if (!current)
        return "host code";
    char place[128];
    snprintf(place, sizeof place, ", block (%u, %u, %u), thread (%u, %u, %u)", blockIdx.x, blockIdx.y,
             blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
    return function_name(block.launch->function) + place;
}

} // namespace emulation

using namespace emulation;

void emulated_barrier(void) {
    Fiber *self = current;
    block.states[self->thread] = AT_BARRIER;
    block.waiting++;
    at_barrier.push_back(self);
    release_barrier();
    give_way(self);
}

unsigned emulated_lane(void) {
    return current->thread % WARP;
}

unsigned long long emulated_exchange(unsigned mask, unsigned from, unsigned long long value) {
    Fiber *self = current;
    unsigned thread = self->thread, lane = thread % WARP;
    if (!(mask >> lane & 1))
        fail("%s: lane %u shuffles among lanes %08x", running_where().c_str(), lane, mask);
    block.lanes[thread] = {mask, from, value, 0};
    block.states[thread] = AT_EXCHANGE;
    block.warps[thread / WARP].waiting |= 1u << lane;
    release_exchange(thread - lane, mask);
    give_way(self);
    return block.lanes[thread].received;
}
