/* Streams, events and graphs: what was queued is kept as a graph of operations, each with those that it comes
 * after, and is run when somebody waits. A stream or an event is the set of the latest operations in it, its
 * front. A capture collects operations in the same way without running them. */
#include "internal.h"

#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <thread>

namespace emulation {
namespace {

struct Operation;
typedef std::shared_ptr<Operation> OperationRef;
typedef std::vector<OperationRef> Front;

struct Operation {
    const void *function; /* by its name it is known */
    EmulatedWork work;
    std::vector<char> arguments;
    Front after; /* empty once done */
    bool done = false;
    double seconds = 0; /* when it was done */
    Turn turn = {0, 0};
    Clock clock; /* what it comes after, done or not, and itself */
};

struct Capture {
    std::vector<OperationRef> operations; /* in the order they were captured, which is a possible one */
    CUstream_st *origin;
    std::thread::id thread;
    bool any_thread; /* mode relaxed */
    bool valid = true, ended = false;
};

std::set<CUstream_st *> streams;
std::vector<std::shared_ptr<Capture>> captures; /* under way */
bool try_again;

double now() {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* CUDA_EMULATION_ORDER: where an operation comes after several, the one of its own stream is run first and
 * the others as late as possible ("own", as usual), or the other way round ("others"). */
bool own_first() {
    static const char *variable = getenv("CUDA_EMULATION_ORDER");
    if (variable && strcmp(variable, "own") != 0 && strcmp(variable, "others") != 0)
        fail("CUDA_EMULATION_ORDER: expected own or others, found %s", variable);
    return !variable || strcmp(variable, "own") == 0;
}

} // namespace
} // namespace emulation

using namespace emulation;

struct CUstream_st {
    Front front;
    Clock clock;
    std::shared_ptr<Capture> capture;
    Front captured;
};

struct CUevent_st {
    bool timed = true, recorded = false;
    Front front;
    Clock clock;
    std::shared_ptr<Capture> capture;
    double seconds = 0; /* when it was recorded */
    int queries = 0;    /* that were answered with "not ready" since */
};

struct CUgraph_st {
    std::vector<OperationRef> operations;
};

struct CUgraphExec_st {
    std::vector<OperationRef> operations;
    Clock clock; /* of its last launch */
};

namespace emulation {
namespace {

CUstream_st &checked(cudaStream_t stream) {
    if (streams.count(stream) == 0)
        fail("work for a stream that does not exist (the default stream is not emulated)");
    return *stream;
}

void keep_undone(Front &front) {
    front.erase(std::remove_if(front.begin(), front.end(), [](const OperationRef &o) { return o->done; }),
                front.end());
}

bool is_done(const Front &front) {
    return std::all_of(front.begin(), front.end(), [](const OperationRef &o) { return o->done; });
}

/* ---- running ---- */

/* False: the operation must be tried again later. */
bool run_one(Operation &operation) {
    try_again = false;
    begin_operation();
    operation.work(operation.arguments.data());
    if (try_again)
        return false;
    end_operation(operation.function, operation.turn, operation.clock);
    count_launch(operation.function);
    operation.done = true;
    operation.seconds = now();
    operation.after.clear();
    return true;
}

/* Runs what `front` depends on and itself; false: some of it must be tried again. */
bool run(const Front &front) {
    DeviceAccess access;
    bool complete = true;
    std::set<Operation *> stuck; /* or after something that is */
    std::vector<OperationRef> path(front.rbegin(), front.rend());
    while (!path.empty()) {
        OperationRef operation = path.back();
        OperationRef next;
        bool blocked = false;
        Front &after = operation->after;
        for (size_t i = 0; i < after.size() && !next; i++) {
            const OperationRef &other = after[own_first() ? i : after.size() - 1 - i];
            if (stuck.count(other.get()))
                blocked = true;
            else if (!other->done)
                next = other;
        }
        if (next) {
            path.push_back(next);
            continue;
        }
        path.pop_back();
        if (operation->done || stuck.count(operation.get()))
            continue;
        if (blocked || !run_one(*operation)) {
            stuck.insert(operation.get());
            complete = false;
        }
    }
    return complete;
}

/* Lets other threads in between two attempts. clock: that of `front`, which the host then has waited for. */
void run_to_end(std::unique_lock<std::recursive_mutex> &hold, Front front, Clock clock) {
    const struct timespec pause = {0, 200000};
    while (!run(front)) {
        hold.unlock();
        nanosleep(&pause, nullptr);
        hold.lock();
    }
    host_waited(clock);
}

/* ---- captures ---- */

std::shared_ptr<Capture> capture_of_this_thread() {
    for (const auto &capture : captures)
        if (capture->thread == std::this_thread::get_id() && !capture->any_thread)
            return capture;
    return nullptr;
}

cudaError_t invalidate(Capture &capture, cudaError_t error) {
    capture.valid = false;
    return error;
}

/* What `front` comes after, and itself. */
std::set<Operation *> closure(const Front &front) {
    std::set<Operation *> found;
    std::vector<Operation *> open;
    for (const OperationRef &operation : front)
        open.push_back(operation.get());
    while (!open.empty()) {
        Operation *operation = open.back();
        open.pop_back();
        if (found.insert(operation).second)
            for (const OperationRef &other : operation->after)
                open.push_back(other.get());
    }
    return found;
}

/* Copies of the operations, ordered among themselves like these and all after `front`, whose clock is
 * `clock`. Replaces both. */
void queue_copies(const std::vector<OperationRef> &operations, Front &front, Clock &clock) {
    const Clock before = clock;
    std::map<Operation *, OperationRef> copies;
    std::set<Operation *> followed;
    for (const OperationRef &operation : operations) {
        OperationRef copy = std::make_shared<Operation>(*operation);
        copy->after.clear();
        copy->clock = before;
        for (const OperationRef &other : operation->after) {
            copy->after.push_back(copies.at(other.get()));
            join(copy->clock, copy->after.back()->clock);
            followed.insert(other.get());
        }
        if (copy->after.empty())
            copy->after = front;
        copy->turn = advance(copy->clock);
        join(clock, copy->clock);
        copies[operation.get()] = copy;
    }
    Front last;
    for (const OperationRef &operation : operations)
        if (followed.count(operation.get()) == 0)
            last.push_back(copies.at(operation.get()));
    if (!operations.empty())
        front = last;
}

} // namespace

void queue(cudaStream_t stream, const void *function, EmulatedWork work, const void *arguments,
           size_t bytes) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    CUstream_st &self = checked(stream);
    OperationRef operation = std::make_shared<Operation>();
    const char *from = static_cast<const char *>(arguments);
    operation->function = function;
    operation->work = work;
    operation->arguments.assign(from, from + bytes);
    if (self.capture) {
        operation->after = self.captured;
        self.capture->operations.push_back(operation);
        self.captured = {operation};
    } else {
        keep_undone(self.front);
        operation->after = self.front;
        self.front = {operation};
        join(self.clock, host_clock());
        operation->turn = advance(self.clock);
        operation->clock = self.clock;
    }
}

void drain() {
    std::unique_lock<std::recursive_mutex> hold(lock());
    Front all;
    Clock clock;
    for (CUstream_st *stream : streams) {
        all.insert(all.end(), stream->front.begin(), stream->front.end());
        join(clock, stream->clock);
    }
    run_to_end(hold, all, clock);
}

cudaError_t refuse_in_capture() {
    std::shared_ptr<Capture> capture = capture_of_this_thread();
    return capture ? invalidate(*capture, cudaErrorStreamCaptureUnsupported) : cudaSuccess;
}

bool is_capturing(cudaStream_t stream) {
    return checked(stream).capture != nullptr;
}

cudaError_t wait_for(cudaStream_t stream) {
    std::unique_lock<std::recursive_mutex> hold(lock());
    CUstream_st &self = checked(stream);
    if (self.capture)
        return invalidate(*self.capture, cudaErrorStreamCaptureUnsupported);
    cudaError_t refused = refuse_in_capture();
    if (refused == cudaSuccess)
        run_to_end(hold, self.front, self.clock);
    return refused;
}

} // namespace emulation

void emulation_queue(cudaStream_t stream, EmulatedWork work, const void *arguments, size_t bytes) {
    queue(stream, reinterpret_cast<const void *>(work), work, arguments, bytes);
}

void emulation_try_again(void) {
    try_again = true;
}

/* ---- streams ---- */

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned, int) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    *stream = new CUstream_st();
    streams.insert(*stream);
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
    return cudaStreamCreateWithPriority(stream, flags, 0);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    std::unique_lock<std::recursive_mutex> hold(lock());
    CUstream_st &self = checked(stream);
    run_to_end(hold, self.front, self.clock);
    streams.erase(stream);
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    return report(wait_for(stream));
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    CUstream_st &self = checked(stream);
    if (!event->recorded)
        return cudaSuccess;
    if (event->capture && event->capture->ended)
        return report(cudaErrorInvalidValue);
    if (self.capture && !event->capture)
        return report(invalidate(*self.capture, cudaErrorStreamCaptureIsolation));
    if (self.capture && self.capture != event->capture) {
        invalidate(*event->capture, cudaErrorStreamCaptureMerge);
        return report(invalidate(*self.capture, cudaErrorStreamCaptureMerge));
    }
    if (event->capture && !self.capture) {
        self.capture = event->capture;
        self.captured.clear();
    }
    Front &front = self.capture ? self.captured : self.front;
    for (const OperationRef &operation : event->front)
        if (std::find(front.begin(), front.end(), operation) == front.end())
            front.push_back(operation);
    if (!self.capture)
        join(self.clock, event->clock);
    return cudaSuccess;
}

/* ---- events ---- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
    *event = new CUevent_st();
    (*event)->timed = !(flags & cudaEventDisableTiming);
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event) {
    return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    CUstream_st &self = checked(stream);
    event->recorded = true;
    event->capture = self.capture;
    event->front = self.capture ? self.captured : self.front;
    event->clock = self.clock;
    event->seconds = now();
    event->queries = 0;
    return cudaSuccess;
}

/* Both calls about an event may not be made of a captured one, nor in a capture. */
static cudaError_t refuse_question(cudaEvent_t event) {
    if (event->capture)
        return event->capture->ended ? cudaErrorCapturedEvent
                                     : invalidate(*event->capture, cudaErrorCapturedEvent);
    return refuse_in_capture();
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    std::unique_lock<std::recursive_mutex> hold(lock());
    cudaError_t refused = refuse_question(event);
    if (refused == cudaSuccess)
        run_to_end(hold, event->front, event->clock);
    return report(refused);
}

/* The first questions find a device that has not got that far. */
cudaError_t cudaEventQuery(cudaEvent_t event) {
    enum { UNREADY_ANSWERS = 2 };
    std::unique_lock<std::recursive_mutex> hold(lock());
    cudaError_t refused = refuse_question(event);
    if (refused != cudaSuccess)
        return report(refused);
    if (!is_done(event->front) && (event->queries++ < UNREADY_ANSWERS || !run(Front(event->front))))
        return report(cudaErrorNotReady);
    host_waited(event->clock);
    return cudaSuccess;
}

static double completion(cudaEvent_t event) {
    double seconds = event->seconds;
    for (const OperationRef &operation : event->front)
        seconds = std::max(seconds, operation->seconds);
    return seconds;
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t begin, cudaEvent_t end) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    if (!begin->timed || !end->timed || !begin->recorded || !end->recorded)
        return report(cudaErrorInvalidResourceHandle);
    if (!is_done(begin->front) || !is_done(end->front))
        return report(cudaErrorNotReady);
    *milliseconds = (float)(1e3 * (completion(end) - completion(begin)));
    return cudaSuccess;
}

/* ---- captures and graphs ---- */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    CUstream_st &self = checked(stream);
    if (self.capture)
        return report(invalidate(*self.capture, cudaErrorStreamCaptureUnsupported));
    self.capture = std::make_shared<Capture>();
    self.capture->origin = stream;
    self.capture->thread = std::this_thread::get_id();
    self.capture->any_thread = mode == cudaStreamCaptureModeRelaxed;
    self.captured.clear();
    captures.push_back(self.capture);
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    std::shared_ptr<Capture> capture = checked(stream).capture;
    *graph = nullptr;
    if (!capture)
        return report(cudaErrorInvalidValue);
    if (capture->origin != stream)
        return report(invalidate(*capture, cudaErrorStreamCaptureUnmatched));
    if (!capture->any_thread && capture->thread != std::this_thread::get_id())
        return report(cudaErrorStreamCaptureWrongThread);
    bool joined = closure(stream->captured).size() == capture->operations.size();
    capture->ended = true;
    captures.erase(std::find(captures.begin(), captures.end(), capture));
    for (CUstream_st *other : streams)
        if (other->capture == capture) {
            other->capture = nullptr;
            other->captured.clear();
        }
    if (!capture->valid)
        return report(cudaErrorStreamCaptureInvalidated);
    if (!joined)
        return report(cudaErrorStreamCaptureUnjoined);
    *graph = new CUgraph_st();
    (*graph)->operations = capture->operations;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    std::vector<const void *> functions;
    for (const OperationRef &operation : graph->operations)
        functions.push_back(operation->function);
    count_graph(functions);
    *executable = new CUgraphExec_st();
    (*executable)->operations = graph->operations;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    CUstream_st &self = checked(stream);
    if (self.capture)
        return report(invalidate(*self.capture, cudaErrorStreamCaptureUnsupported));
    keep_undone(self.front);
    join(self.clock, host_clock());
    join(self.clock, executable->clock); /* launches of one graph come one after another */
    queue_copies(executable->operations, self.front, self.clock);
    executable->clock = self.clock;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
    std::lock_guard<std::recursive_mutex> hold(lock());
    delete executable;
    return cudaSuccess;
}
