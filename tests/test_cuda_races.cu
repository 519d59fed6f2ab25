/* The emulation of the CUDA runtime must find every race, whatever its result, and every read of memory that
 * was not written; and must take nothing else for one. */
#include "emulation_rig.cuh"

namespace {

/* ---- kernels ---- */

/* Each thread writes its place and reads the one opposite. */
__global__ void opposite_kernel(float *values, bool with_barrier) {
    __shared__ float shared[THREADS];
    shared[threadIdx.x] = (float)threadIdx.x;
    if (with_barrier)
        __syncthreads();
    values[threadIdx.x] = shared[THREADS - 1 - threadIdx.x];
}

__global__ void unwritten_kernel(float *values) {
    __shared__ float own[THREADS];
    const float *dynamic = reinterpret_cast<const float *>(dynamic_shared());
    if (threadIdx.x > 1) /* or the compiler would know what is in it */
        own[threadIdx.x] = 0;
    values[threadIdx.x] = threadIdx.x == 0 ? own[1] : dynamic[0];
}

/* Without the second barrier the values are right in whatever order the threads run. */
__global__ void rewriting_kernel(float *values, bool with_barrier) {
    __shared__ float shared[THREADS];
    for (int round = 0; round < 2; round++) {
        shared[threadIdx.x] = 1;
        if (with_barrier || round == 0)
            __syncthreads();
    }
    values[threadIdx.x] = shared[THREADS - 1 - threadIdx.x];
}

/* Lanes that met at a shuffle have not thereby seen each other's memory. */
__global__ void shuffled_kernel(float *values) {
    __shared__ float shared[THREADS];
    shared[threadIdx.x] = 1;
    float met = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
    values[threadIdx.x] = met + shared[threadIdx.x ^ 1];
}

__global__ void same_value_kernel(float *values) {
    values[0] = 1;
}

/* Each thread writes its value and, behind a barrier, reads the one opposite. */
__global__ void exchange_kernel(float *values) {
    float *own = values + blockIdx.x * THREADS;
    own[threadIdx.x] = (float)threadIdx.x;
    __syncthreads();
    float other = own[THREADS - 1 - threadIdx.x];
    __syncthreads();
    own[threadIdx.x] = other;
}

__global__ void read_first_kernel(float *values) {
    if (threadIdx.x == 0)
        values[blockIdx.x] = blockIdx.x == 0 ? 1 : values[0];
}

__global__ void count_kernel(float *values, bool behind_barrier) {
    atomicAdd(values, 1.0f);
    if (behind_barrier)
        __syncthreads();
    if (blockIdx.x == 0 && threadIdx.x == 0)
        values[1] = values[0];
}

/* Bytes and pairs of them that lie next to each other. */
__global__ void bytes_kernel(float *values, int apart) {
    unsigned char *bytes = reinterpret_cast<unsigned char *>(values);
    bytes[threadIdx.x * (unsigned)apart] = (unsigned char)threadIdx.x;
    uint16_t *pairs = reinterpret_cast<uint16_t *>(values + THREADS);
    pairs[threadIdx.x * (unsigned)apart] = (uint16_t)threadIdx.x;
}

/* ---- defects ---- */

template <typename... Parameters, typename... Arguments>
void run(void (*kernel)(Parameters...), unsigned blocks, Arguments... arguments) {
    (void)cudaMemsetAsync(device, 0, COUNT * sizeof(float), stream);
    (void)launch(stream, kernel, blocks, THREADS, 0, device, arguments...);
    (void)cudaStreamSynchronize(stream);
}

void miss_barrier() {
    run(rewriting_kernel, 1, false);
}
void trust_shuffle() {
    run(shuffled_kernel, 1);
}
void read_shared_too_early() {
    run(opposite_kernel, 1, false);
}
void write_same_value() {
    run(same_value_kernel, 1);
}
void write_in_two_blocks() {
    run(fill_kernel, 2, 1, 1.0f);
}
void read_in_other_block() {
    run(read_first_kernel, 2);
}
void read_while_counting() {
    run(count_kernel, 1, false);
}
void read_while_another_block_counts() {
    run(count_kernel, 2, true);
}
void read_unwritten() {
    (void)launch(stream, add_kernel, 1, THREADS, 0, device, 2, 1.0f);
    (void)cudaStreamSynchronize(stream);
}
void copy_unwritten() {
    (void)cudaMemsetAsync(device, 0, 8, stream);
    (void)cudaMemcpyAsync(host, device, 12, cudaMemcpyDeviceToHost, stream);
    (void)cudaStreamSynchronize(stream);
}
void read_unwritten_shared() {
    (void)launch(stream, unwritten_kernel, 1, 2, 16, device);
    (void)cudaStreamSynchronize(stream);
}
void miss_event() {
    (void)launch(other, fill_kernel, 1, THREADS, 0, device, 1, 2.0f);
    (void)cudaStreamSynchronize(other);
    (void)launch(other, add_kernel, 1, THREADS, 0, device, 1, 2.0f);
    (void)cudaMemcpyAsync(host, device, sizeof(float), cudaMemcpyDeviceToHost, stream);
    (void)cudaStreamSynchronize(stream);
    (void)cudaStreamSynchronize(other);
}
/* It has run by then, but the host cannot know. */
void wait_for_too_little() {
    cudaEvent_t event;
    (void)cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
    (void)launch(stream, fill_kernel, 1, THREADS, 0, device, 1, 1.0f);
    (void)cudaEventRecord(event, stream);
    (void)launch(stream, fill_kernel, 1, THREADS, 0, device + 1, 1, 1.0f);
    (void)cudaStreamWaitEvent(other, event, 0);
    (void)cudaStreamSynchronize(other);
    (void)launch(other, fill_kernel, 1, THREADS, 0, device, 2, 2.0f);
    (void)cudaStreamSynchronize(stream);
    (void)cudaStreamSynchronize(other);
}
void share_page_locked() {
    (void)cudaMemsetAsync(device, 0, 16, stream);
    (void)cudaStreamSynchronize(stream);
    (void)cudaMemcpyAsync(host, device, 8, cudaMemcpyDeviceToHost, stream);
    (void)cudaMemcpyAsync(host + 1, device + 2, 8, cudaMemcpyDeviceToHost, other);
    (void)cudaStreamSynchronize(stream);
    (void)cudaStreamSynchronize(other);
}

/* Two branches of a graph, which add to device[0] and device[place]. */
void run_branches(int place) {
    cudaEvent_t event;
    cudaGraph_t graph = NULL;
    cudaGraphExec_t executable = NULL;
    (void)cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
    (void)cudaMemsetAsync(device, 0, COUNT * sizeof(float), stream);
    (void)cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    (void)cudaEventRecord(event, stream);
    (void)cudaStreamWaitEvent(other, event, 0);
    (void)launch(stream, add_kernel, 1, THREADS, 0, device, 1, 1.0f);
    (void)launch(other, add_kernel, 1, THREADS, 0, device + place, 1, 2.0f);
    (void)cudaEventRecord(event, other);
    (void)cudaStreamWaitEvent(stream, event, 0);
    (void)cudaStreamEndCapture(stream, &graph);
    CHECK(cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess);
    CHECK(cudaGraphDestroy(graph) == cudaSuccess);
    for (int i = 0; i < 3; i++)
        CHECK(cudaGraphLaunch(executable, stream) == cudaSuccess);
    CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
    CHECK(cudaGraphExecDestroy(executable) == cudaSuccess);
    CHECK(cudaEventDestroy(event) == cudaSuccess);
}
void run_branches_on_one_place() {
    run_branches(0);
}

void test_races() {
    check_ends("a missing barrier that no result shows", miss_barrier,
               "rewriting_kernel, block (0, 0, 0), thread (31, 0, 0): a race: writes byte 124 of the shared "
               "variable rewriting_kernel::shared, which thread (32, 0, 0) has read since the last barrier");
    check_ends("a shuffle in place of a barrier", trust_shuffle, "a race: reads byte");
    check_ends("a missing barrier", read_shared_too_early, "which no thread of the block has written");
    check_ends("shared memory that was not written", read_unwritten_shared,
               "which no thread of the block has written");
    check_ends("two threads that write the same", write_same_value,
               "thread (1, 0, 0): a race: writes byte 0 of a block of 1024 bytes of device memory, which "
               "thread (0, 0, 0) has written since the last barrier");
    check_ends(
        "two blocks that write the same", write_in_two_blocks,
        "fill_kernel, block (1, 0, 0), thread (0, 0, 0): a race: writes byte 0 of a block of 1024 bytes of "
        "device memory, which block (0, 0, 0), thread (0, 0, 0) has written");
    check_ends("a block that reads what another writes", read_in_other_block,
               "a race: reads byte 0 of a block of 1024 bytes of device memory, which block (0, 0, 0)");
    check_ends("a read among atomics", read_while_counting, "has read");
    check_ends("a read while another block changes it", read_while_another_block_counts,
               "block (1, 0, 0), thread (63, 0, 0): a race: changes atomically byte 0");
    check_ends(
        "device memory that was not written", read_unwritten,
        "add_kernel reads byte 0 of a block of 1024 bytes of device memory, which nothing has written");
    check_ends(
        "a copy of what was not written", copy_unwritten,
        "copy_device_to_host reads byte 8 of a block of 1024 bytes of device memory, which nothing has");
    check_ends("no event between two streams", miss_event,
               "add_kernel writes byte 0 of a block of 1024 bytes of device memory, which "
               "emulation::copy_device_to_host reads, and nothing orders the two");
    check_ends(
        "a wait for an earlier event", wait_for_too_little,
        "fill_kernel writes byte 4 of a block of 1024 bytes of device memory, which fill_kernel writes");
    check_ends("page-locked memory of two copies", share_page_locked,
               "writes byte 4 of a block of 1024 bytes of page-locked memory");
    check_ends("branches of a graph on one place", run_branches_on_one_place,
               "add_kernel reads byte 0 of a block of 1024 bytes of device memory, which add_kernel writes");
}

/* Nothing of this is a race. */
void test_no_races() {
    cudaEvent_t event;
    run(rewriting_kernel, 1, true);
    run(exchange_kernel, 4);
    CHECK(value_at(0) == THREADS - 1 && value_at(COUNT - 1) == 0);
    run(count_kernel, 1, true);
    CHECK(value_at(0) == THREADS && value_at(1) == THREADS);
    run(bytes_kernel, 1, 1);
    run(bytes_kernel, 1, 3);
    run_branches(1);
    CHECK(value_at(0) == 3 && value_at(1) == 6);
    /* the host has waited in between, for a stream or an event */
    CHECK(launch(other, fill_kernel, 1, THREADS, 0, device, 1, 2.0f) == cudaSuccess);
    CHECK(cudaStreamSynchronize(other) == cudaSuccess);
    CHECK(value_at(0) == 2);
    CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess);
    CHECK(cudaEventRecord(event, stream) == cudaSuccess);
    while (cudaEventQuery(event) == cudaErrorNotReady)
        (void)cudaGetLastError();
    CHECK(launch(other, fill_kernel, 1, THREADS, 0, device, 1, 3.0f) == cudaSuccess);
    CHECK(cudaStreamSynchronize(other) == cudaSuccess);
    CHECK(value_at(0) == 3);
    /* both only read */
    CHECK(cudaMemcpyAsync(host, device, 4, cudaMemcpyDeviceToHost, stream) == cudaSuccess);
    CHECK(cudaMemcpyAsync(host + 1, device, 4, cudaMemcpyDeviceToHost, other) == cudaSuccess);
    CHECK(cudaStreamSynchronize(stream) == cudaSuccess && cudaStreamSynchronize(other) == cudaSuccess);
    CHECK(cudaEventDestroy(event) == cudaSuccess);
}

} // namespace

int main() {
    test_races();
    open();
    test_no_races();
    close();
    return test_result();
}
