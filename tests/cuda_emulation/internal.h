/* What the parts of the emulation share. One lock guards all of it: every call of the runtime takes it. */
#ifndef TESTS_CUDA_EMULATION_INTERNAL_H
#define TESTS_CUDA_EMULATION_INTERNAL_H

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "emulation.h"

extern "C" {
extern dim3 blockDim, gridDim;
extern char *emulated_dynamic_shared;
}

namespace emulation {

/* Properties of an H100 that limit what may be launched. */
enum {
    WARP = 32,
    MAX_THREADS = 1024,
    SHARED_DEFAULT = 49152,
    SHARED_OPT_IN = 232448,
    MULTIPROCESSORS = 132,
};

std::recursive_mutex &lock();

/* Ends the program: a defect that a device would not have reported, or not here. */
[[noreturn]] void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Keeps an error for cudaGetLastError, as every call of the runtime does, and returns it. (runtime.cpp) */
cudaError_t report(cudaError_t error);

/* ---- names.cpp ---- */

/* "group_norm_kernel<float, 4, true>" of a function of this program, from its symbol table. */
const std::string &function_name(const void *function);
/* Fills the shared memory that kernels declare with NaN. */
void poison_static_shared();
/* Where it is for this thread, other variables between. */
const char *static_shared_variables(size_t *bytes);
/* "byte 4 of the shared variable opposite_kernel::shared"; empty: it is in none. */
std::string place_in_shared_variable(const void *address);
/* Counted where CUDA_EMULATION_COUNTS=1, and printed when the program ends. */
void count_launch(const void *function);
void count_graph(const std::vector<const void *> &functions);

/* ---- memory.cpp ---- */

/* While one of these lives, device memory can be read and written. */
class DeviceAccess {
  public:
    DeviceAccess();
    ~DeviceAccess();
    DeviceAccess(const DeviceAccess &) = delete;
    DeviceAccess &operator=(const DeviceAccess &) = delete;
};

/* Whether [address, address + bytes) lies in one page-locked block; whether `address` could be a device's. */
bool is_page_locked(const void *address, size_t bytes);
bool is_device_range(const void *address);
/* All addresses that device memory can have. */
const char *device_addresses(size_t *bytes);
/* "byte 16 of a block of 1024 bytes of device memory", or of shared or page-locked memory. */
std::string place_in_memory(const void *address);

/* ---- order.cpp ---- */

/* Of an operation, which is number `number` of its chain, from 1 on. */
struct Turn {
    uint32_t chain, number;
};
/* What something comes after: how many operations of each chain. */
typedef std::vector<uint32_t> Clock;

void join(Clock &clock, const Clock &other);
/* Adds an operation that comes after all that `clock` says, to the clock. */
Turn advance(Clock &clock);
/* What the host has waited for, on any of its threads: all that is queued later comes after it. */
const Clock &host_clock();
void host_waited(const Clock &clock);

/* Without this call no access is looked at. */
void watch_operations();
/* Between the two the work of one operation tells what it reads and writes, and is checked by the second.
 * clock: what it comes after, and itself. */
void begin_operation();
void end_operation(const void *function, Turn turn, const Clock &clock);
/* Memory that is no longer there. */
void forget_memory(const void *address, size_t bytes);

/* ---- accesses.cpp ---- */

enum : unsigned { NO_THREAD = ~0u };
/* dynamic: where blocks have their dynamic shared memory. */
void begin_launch(const char *dynamic, size_t dynamic_bytes);
void begin_block();
/* Behind a barrier. */
void begin_epoch();
/* Accesses are from now on those of this thread of the block, by number, or of no kernel. */
void run_as(unsigned thread);
/* Tells the operation what the launch has read and written. */
void end_launch();

/* ---- streams.cpp ---- */

/* emulation_queue, where another function than `work` is the one that counts and messages show. */
void queue(cudaStream_t stream, const void *function, EmulatedWork work, const void *arguments, size_t bytes);

/* Runs all that was queued, as calls that wait for the whole device do. */
void drain();
/* cudaErrorStreamCaptureUnsupported, and the capture is lost, if this thread is capturing: for calls that a
 * capture does not allow. */
cudaError_t refuse_in_capture();
bool is_capturing(cudaStream_t stream);
/* Waits for a stream; fails if it is capturing. */
cudaError_t wait_for(cudaStream_t stream);

/* ---- blocks.cpp ---- */

struct alignas(16) Launch {
    const void *function;
    dim3 grid, block;
    size_t shared_bytes;
    void (*run_thread)(void *call);
};
void run_grid(const Launch &launch, void *call);
/* "group_norm_kernel<...>, block (0, 0, 0), thread (1, 0, 0)", or "host code". */
std::string running_where();

} // namespace emulation

#endif
