/* Whether operations that touch the same memory come one after the other by streams, events, graphs or
 * because the host waited in between; and whether memory was written before it is read, as
 * compute-sanitizer's initcheck finds it.
 *
 * Operations form chains, in which each comes after the one before it, and are numbered in theirs. What an
 * operation comes after is a clock: how many of each chain. For each byte the history keeps its last writer
 * and who has read it since. Nothing depends on the order in which operations happen to run here. */
#include "internal.h"

#include <algorithm>
#include <cstdint>
#include <unordered_map>

namespace emulation {
namespace {

bool watching;
std::vector<uint32_t> chain_lengths;
Clock waited_for;

/* An operation that was; number 0: none. */
struct Past {
    Turn turn = {0, 0};
    const void *function = nullptr;

    bool operator==(const Past &other) const {
        return turn.chain == other.turn.chain && turn.number == other.turn.number;
    }
};

/* Bytes with one history, up to `end` in their page. */
struct Interval {
    uint32_t end;
    Past written;
    std::vector<Past> read; /* since; those that nothing orders among each other */
};

struct Range {
    uintptr_t begin, end;
};

/* What the running operation reads, before it writes there itself, and writes. */
std::vector<Range> reads, writes;

enum { PAGE_BYTES = 4096 };
std::unordered_map<uintptr_t, std::vector<Interval>>
    pages; /* by number; absent: not touched since it is there */

bool comes_after(const Clock &clock, const Past &past) {
    return past.turn.number == 0 ||
           (past.turn.chain < clock.size() && clock[past.turn.chain] >= past.turn.number);
}

/* ---- one operation against the history ---- */

struct Current {
    Past self;
    const Clock &clock;
    bool writes;
};

[[noreturn]] void fail_unordered(const Current &current, uintptr_t address, const Past &past,
                                 bool was_write) {
    const std::string name = function_name(current.self.function), other = function_name(past.function);
    fail("%s %s %s, which %s %s, and nothing orders the two", name.c_str(),
         current.writes ? "writes" : "reads",
         place_in_memory(reinterpret_cast<const void *>(address)).c_str(), other.c_str(),
         was_write ? "writes" : "reads");
}

void check(const Current &current, uintptr_t address, const Interval &interval) {
    if (!comes_after(current.clock, interval.written))
        fail_unordered(current, address, interval.written, true);
    for (const Past &reader : interval.read)
        if (current.writes && !comes_after(current.clock, reader))
            fail_unordered(current, address, reader, false);
    const void *memory = reinterpret_cast<const void *>(address);
    if (!current.writes && interval.written.turn.number == 0 && is_device_range(memory))
        fail("%s reads %s, which nothing has written", function_name(current.self.function).c_str(),
             place_in_memory(memory).c_str());
}

void change(const Current &current, Interval &interval) {
    if (current.writes) {
        interval.written = current.self;
        interval.read.clear();
        return;
    }
    std::vector<Past> &read = interval.read;
    read.erase(std::remove_if(read.begin(), read.end(),
                              [&](const Past &reader) { return comes_after(current.clock, reader); }),
               read.end());
    read.push_back(current.self);
}

/* ---- the history of a page ---- */

void append(std::vector<Interval> &intervals, Interval &&interval) {
    if (!intervals.empty() && intervals.back().written == interval.written &&
        intervals.back().read == interval.read)
        intervals.back().end = interval.end;
    else
        intervals.push_back(std::move(interval));
}

/* ranges: of this page, counted from its begin, ascending and apart. */
void update_page(const Current &current, uintptr_t number, const std::vector<Range> &ranges) {
    static std::vector<Interval> updated;
    std::vector<Interval> &page = pages[number];
    if (page.empty())
        page.push_back({PAGE_BYTES, {}, {}});
    uint32_t at = 0;
    auto range = ranges.begin();
    updated.clear();
    for (const Interval &interval : page)
        while (at < interval.end) {
            const bool inside = range != ranges.end() && range->begin <= at;
            Interval part = interval;
            if (range != ranges.end())
                part.end = std::min(part.end, (uint32_t)(inside ? range->end : range->begin));
            if (inside) {
                check(current, number * PAGE_BYTES + at, part);
                change(current, part);
            }
            at = part.end;
            if (inside && at == range->end)
                ++range;
            append(updated, std::move(part));
        }
    page.swap(updated);
}

/* Ascending, and apart. */
void tidy(std::vector<Range> &ranges) {
    auto before = [](const Range &a, const Range &b) { return a.begin < b.begin; };
    if (!std::is_sorted(ranges.begin(), ranges.end(), before))
        std::sort(ranges.begin(), ranges.end(), before);
    size_t kept = 0;
    for (const Range &range : ranges)
        if (kept > 0 && range.begin <= ranges[kept - 1].end)
            ranges[kept - 1].end = std::max(ranges[kept - 1].end, range.end);
        else
            ranges[kept++] = range;
    ranges.resize(kept);
}

void update(const Current &current, std::vector<Range> &ranges) {
    static std::vector<Range> within;
    tidy(ranges);
    uintptr_t number = 0;
    within.clear();
    for (Range range : ranges)
        while (range.begin < range.end) {
            const uintptr_t page = range.begin / PAGE_BYTES, base = page * PAGE_BYTES;
            const uintptr_t end = std::min(range.end, base + PAGE_BYTES);
            if (page != number && !within.empty()) {
                update_page(current, number, within);
                within.clear();
            }
            number = page;
            within.push_back({range.begin - base, end - base});
            range.begin = end;
        }
    if (!within.empty())
        update_page(current, number, within);
}

void note(std::vector<Range> &ranges, const void *address, size_t bytes) {
    const uintptr_t begin = reinterpret_cast<uintptr_t>(address);
    if (!watching)
        return;
    if (!ranges.empty() && ranges.back().end == begin)
        ranges.back().end += bytes;
    else
        ranges.push_back({begin, begin + bytes});
}

} // namespace

/* ---- clocks ---- */

void join(Clock &clock, const Clock &other) {
    if (clock.size() < other.size())
        clock.resize(other.size());
    for (size_t i = 0; i < other.size(); i++)
        clock[i] = std::max(clock[i], other[i]);
}

/* It continues a chain of which it comes after all, or begins a new one. */
Turn advance(Clock &clock) {
    size_t chain = 0;
    while (chain < clock.size() && clock[chain] != chain_lengths[chain])
        chain++;
    if (chain == clock.size()) {
        chain = chain_lengths.size();
        chain_lengths.push_back(0);
        clock.resize(chain + 1);
    }
    clock[chain] = ++chain_lengths[chain];
    return {(uint32_t)chain, clock[chain]};
}

const Clock &host_clock() {
    return waited_for;
}

void host_waited(const Clock &clock) {
    join(waited_for, clock);
}

/* ---- operations ---- */

void watch_operations() {
    watching = true;
}

void begin_operation() {
    reads.clear();
    writes.clear();
}

void end_operation(const void *function, Turn turn, const Clock &clock) {
    update({{turn, function}, clock, false}, reads);
    update({{turn, function}, clock, true}, writes);
}

void forget_memory(const void *address, size_t bytes) {
    const uintptr_t begin = reinterpret_cast<uintptr_t>(address);
    for (uintptr_t page = begin / PAGE_BYTES; page * PAGE_BYTES < begin + bytes; page++)
        pages.erase(page);
}

} // namespace emulation

using namespace emulation;

void emulation_reads(const void *address, size_t bytes) {
    note(reads, address, bytes);
}

void emulation_writes(const void *address, size_t bytes) {
    note(writes, address, bytes);
}
