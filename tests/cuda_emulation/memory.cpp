/* Device memory: blocks in a range of addresses of their own, filled with NaN when they are new, between
 * guards, and out of reach unless work runs. Addresses are never given out twice, so that memory that was
 * freed stays out of reach. And page-locked host memory, which only has to be known as such. */
#include "internal.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

namespace emulation {
namespace {

enum { PAGE_BYTES = 4096, ALIGNMENT = 256, POISON = 0xff, GUARD = 0xa5, FRONT_GUARD_BYTES = 256 };
constexpr size_t arena_bytes = (size_t)1 << 42; /* addresses, not memory */
constexpr size_t device_bytes = (size_t)80 << 30;

/* [pages, pages + page_bytes): front guard, the block at an aligned address, guard up to the end; pages out
 * of reach on both sides. */
struct Block {
    char *pages;
    size_t page_bytes, bytes;
};

std::map<char *, Block> live, page_locked; /* by address */
char *arena, *next_pages;
size_t live_bytes;
int access_depth;

size_t round_up(size_t bytes, size_t unit) {
    return (bytes + unit - 1) / unit * unit;
}

/* The block that `address` is in or behind. */
const Block *block_at(const std::map<char *, Block> &blocks, const void *address, char **start) {
    auto at = blocks.upper_bound(static_cast<char *>(const_cast<void *>(address)));
    if (at == blocks.begin())
        return nullptr;
    --at;
    *start = at->first;
    return &at->second;
}

bool contains(const std::map<char *, Block> &blocks, const void *address, size_t bytes) {
    char *start;
    const Block *block = block_at(blocks, address, &start);
    size_t offset = block ? (size_t)(static_cast<const char *>(address) - start) : 0;
    return block && offset <= block->bytes && bytes <= block->bytes - offset;
}

/* ---- accesses to what is out of reach ---- */

void describe(const void *address, char *text, size_t text_bytes) {
    char *start;
    const Block *block = block_at(live, address, &start);
    const char *at = static_cast<const char *>(address);
    if (!is_device_range(address))
        snprintf(text, text_bytes, "%p, which is not device memory", address);
    else if (block && at < start + block->bytes)
        snprintf(text, text_bytes, "%p in a live block of %zu bytes, without a copy", address, block->bytes);
    else if (block && at < block->pages + block->page_bytes + PAGE_BYTES)
        snprintf(text, text_bytes, "%p, %zu bytes behind a block of %zu bytes", address,
                 (size_t)(at - (start + block->bytes)), block->bytes);
    else
        snprintf(text, text_bytes, "%p, device memory that was freed or never allocated", address);
}

void on_fault(int signal_number, siginfo_t *information, void *) {
    char text[256];
    signal(signal_number, SIG_DFL);
    describe(information->si_addr, text, sizeof text);
    fail("%s: access to %s", running_where().c_str(), text);
}

/* The stacks of threads are too small to find out on that they are full. */
void watch_faults() {
    enum { BYTES = 1 << 16 };
    static char stack[BYTES];
    stack_t alternate = {};
    alternate.ss_sp = stack;
    alternate.ss_size = sizeof stack;
    struct sigaction action = {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    if (sigaltstack(&alternate, nullptr) != 0 || sigaction(SIGSEGV, &action, nullptr) != 0)
        fail("faults cannot be watched");
}

void open_arena() {
    void *memory = mmap(nullptr, arena_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        fail("no addresses for device memory");
    arena = next_pages = static_cast<char *>(memory);
    watch_faults();
}

void protect(const Block &block, int protection) {
    if (mprotect(block.pages, block.page_bytes, protection) != 0)
        fail("device memory cannot be protected");
}

void check_guard(const char *start, const Block &block, const char *from, const char *to) {
    for (const char *at = from; at < to; at++)
        if (*at != (char)GUARD)
            fail("something was written %zd bytes from the start of a block of %zu bytes of device memory",
                 (ssize_t)(at - start), block.bytes);
}

void check_guards(const char *start, const Block &block) {
    check_guard(start, block, start - FRONT_GUARD_BYTES, start);
    check_guard(start, block, start + block.bytes, block.pages + block.page_bytes);
}

} // namespace

DeviceAccess::DeviceAccess() {
    if (access_depth++ == 0)
        for (const auto &entry : live)
            protect(entry.second, PROT_READ | PROT_WRITE);
}

DeviceAccess::~DeviceAccess() {
    if (--access_depth > 0)
        return;
    for (const auto &entry : live) {
        check_guards(entry.first, entry.second);
        protect(entry.second, PROT_NONE);
    }
}

bool is_page_locked(const void *address, size_t bytes) {
    return contains(page_locked, address, bytes);
}

const char *device_addresses(size_t *bytes) {
    *bytes = arena ? arena_bytes : 0;
    return arena;
}

std::string place_in_memory(const void *address) {
    char *start = nullptr;
    const Block *block = block_at(live, address, &start);
    const char *at = static_cast<const char *>(address), *kind = "device";
    char text[128];
    if (!block || at >= start + block->bytes) {
        block = block_at(page_locked, address, &start);
        kind = "page-locked";
    }
    if (block && at < start + block->bytes)
        snprintf(text, sizeof text, "byte %zu of a block of %zu bytes of %s memory", (size_t)(at - start),
                 block->bytes, kind);
    else if (!place_in_shared_variable(address).empty())
        return place_in_shared_variable(address);
    else
        snprintf(text, sizeof text, "byte %zu of the dynamic shared memory",
                 (size_t)(at - emulated_dynamic_shared));
    return text;
}

bool is_device_range(const void *address) {
    const char *at = static_cast<const char *>(address);
    return arena && at >= arena && at < arena + arena_bytes;
}

} // namespace emulation

using namespace emulation;

void emulation_expect_device(const void *address, size_t bytes, const char *what) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    if (!contains(live, address, bytes))
        fail("%s: expected %zu bytes of device memory at %p, but they are not within one live block", what,
             bytes, address);
}

cudaError_t cudaMalloc(void **memory, size_t bytes) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    cudaError_t refused = refuse_in_capture();
    *memory = nullptr;
    if (refused != cudaSuccess || bytes == 0)
        return report(refused);
    if (bytes > device_bytes - live_bytes)
        return report(cudaErrorMemoryAllocation);
    if (!arena)
        open_arena();
    size_t aligned = round_up(bytes, ALIGNMENT);
    Block block = {next_pages + PAGE_BYTES, round_up(FRONT_GUARD_BYTES + aligned, PAGE_BYTES), bytes};
    next_pages = block.pages + block.page_bytes;
    if (next_pages + PAGE_BYTES > arena + arena_bytes)
        fail("the addresses for device memory are used up");
    char *start = block.pages + block.page_bytes - aligned;
    protect(block, PROT_READ | PROT_WRITE);
    memset(block.pages, GUARD, (size_t)(start - block.pages));
    memset(start, POISON, bytes);
    memset(start + bytes, GUARD, aligned - bytes);
    if (access_depth == 0)
        protect(block, PROT_NONE);
    live[start] = block;
    live_bytes += bytes;
    *memory = start;
    return cudaSuccess;
}

cudaError_t cudaFree(void *memory) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    cudaError_t refused = refuse_in_capture();
    if (refused != cudaSuccess || !memory)
        return report(refused);
    auto at = live.find(static_cast<char *>(memory));
    if (at == live.end())
        return report(cudaErrorInvalidValue);
    drain();
    Block block = at->second;
    if (access_depth == 0) {
        protect(block, PROT_READ);
        check_guards(at->first, block);
    }
    live_bytes -= block.bytes;
    live.erase(at);
    forget_memory(block.pages, block.page_bytes);
    if (mmap(block.pages, block.page_bytes, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
        fail("device memory cannot be freed");
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **memory, size_t bytes) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    cudaError_t refused = refuse_in_capture();
    if (refused != cudaSuccess)
        return report(refused);
    *memory = aligned_alloc(PAGE_BYTES, round_up(bytes, PAGE_BYTES));
    if (!*memory)
        return report(cudaErrorMemoryAllocation);
    memset(*memory, POISON, bytes);
    page_locked[static_cast<char *>(*memory)] = {nullptr, 0, bytes};
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *memory) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    cudaError_t refused = refuse_in_capture();
    if (refused != cudaSuccess || !memory)
        return report(refused);
    auto at = page_locked.find(static_cast<char *>(memory));
    if (at == page_locked.end())
        return report(cudaErrorInvalidValue);
    drain();
    forget_memory(memory, at->second.bytes);
    page_locked.erase(at);
    free(memory);
    return cudaSuccess;
}
