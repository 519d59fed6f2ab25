/* Races within one launch, as compute-sanitizer's racecheck finds them, in global memory too. Kernels are
 * compiled with the calls of GCC's thread sanitizer, which tell each access to memory; its library is not
 * linked, they are answered here.
 *
 * Two accesses to a byte race if at least one writes, not both are atomic, and nothing orders them: in one
 * block a barrier between them does, across the blocks of a launch nothing does. What they write does not
 * matter, nor does the order in which they run here, so one run finds every race between its accesses. A
 * shuffle orders no memory. Shared memory must also have been written by the block before it is read. */
#include "internal.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <deque>

namespace emulation {
namespace {

/* The latest access of a kind: epoch << EPOCH_SHIFT | flags | thread; epoch 0: none. An epoch lies between
 * two barriers of a block; they are numbered through all launches. */
typedef uint64_t Record;
enum : Record {
    THREAD_BITS = MAX_THREADS - 1,
    SEVERAL = 1 << 10,     /* threads, in this epoch */
    ELSEWHERE = 1 << 11,   /* in another block, too */
    FROM_BEFORE = 1 << 12, /* read by this launch before it wrote there */
    EPOCH_SHIFT = 13,
};

enum Kind { READ, WRITE, CHANGE /* atomic */, KINDS };

/* Of 1, 2 or 4 bytes of memory. */
struct Cell {
    Record last[KINDS];
};

enum { PAGE_BYTES = 4096, LARGEST_CELL = 4 };

/* The cells of one page of memory, of as many bytes each as all accesses to the page so far allow. */
struct Page {
    size_t cell_bytes;
    std::vector<Cell> cells;
};

/* Global memory, or that of a block. */
struct Space {
    uintptr_t begin = 0;
    size_t bytes = 0;
    std::vector<Page *> pages; /* NULL: not touched */
};

Space device, dynamic_shared, static_shared;
std::deque<Page> all_pages;
std::vector<size_t> touched;              /* pages of device memory, by this launch */
std::vector<Page *> unused[LARGEST_CELL]; /* by cell_bytes - 1; all cells empty */

bool told;                        /* of accesses, by the compiler's calls */
Record epoch, now, block_begin;   /* now: of the running thread; 0: none runs */
std::vector<Record> block_begins; /* the first epoch of each block of this launch */

/* ---- pages ---- */

Page *new_page(size_t cell_bytes) {
    std::vector<Page *> &ready = unused[cell_bytes - 1];
    if (ready.empty())
        return &all_pages.emplace_back(Page{cell_bytes, std::vector<Cell>(PAGE_BYTES / cell_bytes)});
    Page *page = ready.back();
    ready.pop_back();
    return page;
}

void put_back(Page *page) {
    std::fill(page->cells.begin(), page->cells.end(), Cell());
    unused[page->cell_bytes - 1].push_back(page);
}

/* Makes a page, or replaces it by one with smaller cells, for an access from `offset` to `end`. */
__attribute__((noinline)) Page *prepare(Space &space, size_t offset, size_t end) {
    const size_t index = offset / PAGE_BYTES, most = (offset | end) & -(offset | end);
    if (index >= space.pages.size())
        space.pages.resize(index + 1);
    Page *coarse = space.pages[index], *page = new_page(std::min((size_t)LARGEST_CELL, most));
    if (coarse) {
        for (size_t i = 0; i < page->cells.size(); i++)
            page->cells[i] = coarse->cells[i * page->cell_bytes / coarse->cell_bytes];
        put_back(coarse);
    } else if (&space == &device) {
        touched.push_back(index);
    }
    return space.pages[index] = page;
}

inline bool is_in(const Space &space, const void *address) {
    return reinterpret_cast<uintptr_t>(address) - space.begin < space.bytes;
}

/* ---- races ---- */

std::string thread_name(Record record) {
    const unsigned thread = (unsigned)(record & THREAD_BITS);
    char text[64];
    snprintf(text, sizeof text, "thread (%u, %u, %u)", thread % blockDim.x, thread / blockDim.x % blockDim.y,
             thread / (blockDim.x * blockDim.y));
    return text;
}

/* "thread (1, 0, 0) has read since the last barrier" */
std::string describe(const char *done, Record by) {
    const Record its_epoch = by >> EPOCH_SHIFT;
    const std::string has = std::string(" has ") + done;
    if (by & ELSEWHERE)
        return "another block of the launch" + has;
    if (its_epoch >= block_begin)
        return (by & SEVERAL ? "another thread" : thread_name(by)) + has + " since the last barrier";
    auto after = std::upper_bound(block_begins.begin(), block_begins.end(), its_epoch);
    const unsigned block = (unsigned)(after - block_begins.begin()) - 1;
    char text[64];
    snprintf(text, sizeof text, "block (%u, %u, %u), ", block % gridDim.x, block / gridDim.x % gridDim.y,
             block / (gridDim.x * gridDim.y));
    return text + thread_name(by) + has;
}

[[noreturn]] void fail_race(Kind kind, const void *address, Kind earlier, Record by) {
    static const char *const does[KINDS] = {"reads", "writes", "changes atomically"};
    static const char *const done[KINDS] = {"read", "written", "changed atomically"};
    fail("%s: a race: %s %s, which %s", running_where().c_str(), does[kind], place_in_memory(address).c_str(),
         describe(done[earlier], by).c_str());
}

/* Whether another thread than the running one made this access, in this epoch. */
inline bool is_of_others(Record record) {
    return record >> EPOCH_SHIFT == epoch && (record & SEVERAL || ((record ^ now) & THREAD_BITS));
}

/* Whether it was made by another block of this launch; shared memory begins anew with each block. */
template <bool shared> inline bool is_of_other_block(Record record) {
    return !shared && record >> EPOCH_SHIFT != 0 && record >> EPOCH_SHIFT < block_begin;
}

/* Whether nothing orders an access before the running thread's. */
template <bool shared> inline bool is_concurrent(Record record) {
    return is_of_others(record) || is_of_other_block<shared>(record) || record & ELSEWHERE;
}

/* The running thread's access, with what must be kept of those of its kind before it. */
template <bool shared> inline Record merged(Record earlier) {
    Record record = now | (earlier & (ELSEWHERE | FROM_BEFORE));
    if (is_of_other_block<shared>(earlier))
        record |= ELSEWHERE;
    return is_of_others(earlier) ? record | SEVERAL : record;
}

template <Kind kind, bool shared> inline void check(Cell &cell, const void *address) {
    Record &same = cell.last[kind];
    if (same >> EPOCH_SHIFT == epoch && (same & SEVERAL || !((same ^ now) & THREAD_BITS)))
        return; /* nothing new: what races with it races with what was checked before */
    for (Kind earlier : {READ, WRITE, CHANGE})
        if ((kind == WRITE || earlier != kind) && is_concurrent<shared>(cell.last[earlier]))
            fail_race(kind, address, earlier, cell.last[earlier]);
    if (kind != WRITE &&
        std::max(cell.last[WRITE], cell.last[CHANGE]) >> EPOCH_SHIFT < (shared ? block_begin : 1)) {
        if (shared)
            fail("%s: reads %s, which no thread of the block has written", running_where().c_str(),
                 place_in_memory(address).c_str());
        cell.last[READ] |= FROM_BEFORE;
    }
    same = merged<shared>(same);
}

template <Kind kind, bool shared> inline void access_in(Space &space, const void *address, size_t bytes) {
    size_t offset = reinterpret_cast<uintptr_t>(address) - space.begin;
    for (const size_t end = offset + bytes; offset < end;) {
        const size_t to = std::min(end, (offset | (PAGE_BYTES - 1)) + 1), index = offset / PAGE_BYTES;
        Page *page = index < space.pages.size() ? space.pages[index] : nullptr;
        if (!page || (offset | to) & (page->cell_bytes - 1))
            page = prepare(space, offset, to);
        Cell *cell = &page->cells[offset % PAGE_BYTES / page->cell_bytes];
        for (; offset < to; offset += page->cell_bytes)
            check<kind, shared>(*cell++, reinterpret_cast<const void *>(space.begin + offset));
    }
}

template <Kind kind> inline void access(const void *address, size_t bytes) {
    if (now == 0)
        return;
    if (is_in(device, address))
        access_in<kind, false>(device, address, bytes);
    else if (is_in(dynamic_shared, address))
        access_in<kind, true>(dynamic_shared, address, bytes);
    else if (is_in(static_shared, address))
        access_in<kind, true>(static_shared, address, bytes);
}

/* ---- what a launch has accessed ---- */

void note_page(size_t index) {
    Page *page = device.pages[index];
    const char *memory = reinterpret_cast<const char *>(device.begin) + index * PAGE_BYTES;
    const size_t bytes = page->cell_bytes;
    for (const Cell &cell : page->cells) {
        if (cell.last[READ] & FROM_BEFORE)
            emulation_reads(memory, bytes);
        if (cell.last[WRITE] || cell.last[CHANGE])
            emulation_writes(memory, bytes);
        memory += bytes;
    }
    put_back(page);
    device.pages[index] = nullptr;
}

void set(Space &space, const char *begin, size_t bytes) {
    space.begin = reinterpret_cast<uintptr_t>(begin);
    space.bytes = bytes;
}

} // namespace

void begin_launch(const char *dynamic, size_t dynamic_bytes) {
    size_t bytes;
    const char *begin = device_addresses(&bytes);
    set(device, begin, bytes);
    set(dynamic_shared, dynamic, dynamic_bytes);
    begin = static_shared_variables(&bytes);
    set(static_shared, begin, bytes);
    block_begins.clear();
}

void begin_block() {
    begin_epoch();
    block_begin = epoch;
    block_begins.push_back(epoch);
}

void begin_epoch() {
    epoch++;
}

void run_as(unsigned thread) {
    now = !told || thread == NO_THREAD ? 0 : epoch << EPOCH_SHIFT | thread;
}

void end_launch() {
    std::sort(touched.begin(), touched.end());
    for (size_t index : touched)
        note_page(index);
    touched.clear();
}

} // namespace emulation

using namespace emulation;

/* ---- what the compiler calls ---- */

extern "C" {
void emulated_change(const void *address, size_t bytes);
void emulated_change(const void *address, size_t bytes) {
    access<CHANGE>(address, bytes);
}

#define ACCESSES(bytes)                                                                                      \
    void __tsan_read##bytes(void *address);                                                                  \
    void __tsan_read##bytes(void *address) {                                                                 \
        access<READ>(address, bytes);                                                                        \
    }                                                                                                        \
    void __tsan_write##bytes(void *address);                                                                 \
    void __tsan_write##bytes(void *address) {                                                                \
        access<WRITE>(address, bytes);                                                                       \
    }
ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)

void __tsan_read_range(void *address, size_t bytes);
void __tsan_read_range(void *address, size_t bytes) {
    access<READ>(address, bytes);
}

void __tsan_write_range(void *address, size_t bytes);
void __tsan_write_range(void *address, size_t bytes) {
    access<WRITE>(address, bytes);
}

/* When the program starts, by each file that is compiled so: without one, nothing is known of what kernels
 * write. */
void __tsan_init(void);
void __tsan_init() {
    told = true;
    watch_operations();
}
}
