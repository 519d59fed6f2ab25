/* The emulation of the CUDA runtime must find what it is there to find: each defect below is made on purpose,
 * in a process of its own, which must end with the message that names it, or with a wrong result. */
#include <cmath>

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

/* Thread 0 waits at a barrier, thread 1 at a shuffle with thread 0. */
__global__ void hanging_kernel() {
    if (threadIdx.x == 0)
        __syncthreads();
    if (threadIdx.x == 1)
        (void)__shfl_xor_sync(0xffffffffu, 1.0f, 1);
}

__global__ void early_return_kernel(float *values) {
    if (threadIdx.x >= THREADS / 2)
        return;
    __syncthreads();
    values[threadIdx.x] = 1;
}

__global__ void shuffle_kernel(float *values) {
    float sum = (float)threadIdx.x;
    for (int distance = 16; distance > 0; distance /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    values[threadIdx.x] = sum;
    float below = __shfl_down_sync(0xffffffffu, (float)threadIdx.x, 1);
    values[THREADS + threadIdx.x] = below;
}

__global__ void unwritten_kernel(float *values) {
    __shared__ float own[THREADS];
    const float *dynamic = reinterpret_cast<const float *>(dynamic_shared());
    if (threadIdx.x > 1) /* or the compiler would know what is in it */
        own[threadIdx.x] = 0;
    values[threadIdx.x] = threadIdx.x == 0 ? own[1] : dynamic[0];
}

__global__ void dynamic_kernel(float *values, int index) {
    float *dynamic = reinterpret_cast<float *>(dynamic_shared());
    dynamic[index] = 1;
    values[0] = dynamic[index];
}

/* ---- what ends the program ---- */

void hang() {
    (void)launch(stream, hanging_kernel, 1, THREADS, 0);
    (void)cudaStreamSynchronize(stream);
}
void read_on_host() {
    volatile float value = device[0];
    (void)value;
}
void use_freed() {
    (void)cudaFree(device);
    (void)launch(stream, fill_kernel, 1, THREADS, 0, device, 1, 1.0f);
    (void)cudaStreamSynchronize(stream);
}
void write_behind() {
    (void)launch(stream, fill_kernel, 1, THREADS, 0, device + COUNT, 1, 1.0f);
    (void)cudaStreamSynchronize(stream);
}
void write_in_front() {
    (void)launch(stream, fill_kernel, 1, THREADS, 0, device - 1, 1, 1.0f);
    (void)cudaStreamSynchronize(stream);
}
void copy_too_much() {
    (void)cudaMemsetAsync(device, 0, COUNT * sizeof(float) + 1, stream);
    (void)cudaStreamSynchronize(stream);
}
void copy_wrong_way() {
    (void)cudaMemcpyAsync(device, device, sizeof(float), cudaMemcpyHostToDevice, stream);
}
void overrun_shared() {
    (void)launch(stream, dynamic_kernel, 1, 1, 64, device, 16);
    (void)cudaStreamSynchronize(stream);
}

void test_defects() {
    check_ends("a barrier that some never reach", hang, "1 at a barrier, 1 at a shuffle, 62 ended");
    check_ends("device memory read on the host", read_on_host, "host code: access to");
    check_ends("memory used after it was freed", use_freed, "fill_kernel, block (0, 0, 0), thread (0, 0, 0)");
    check_ends("a write behind a block", write_behind, "0 bytes behind a block of 1024 bytes");
    check_ends("a write in front of a block", write_in_front, "written -4 bytes from the start");
    check_ends("a fill of too much", copy_too_much, "memory to fill: expected 1025 bytes");
    check_ends("a copy the wrong way", copy_wrong_way, "takes device memory for the host's");
    check_ends("shared memory that was not asked for", overrun_shared, "dynamic_kernel, block (0, 0, 0)");
}

/* ---- threads ---- */

void test_threads() {
    int wrong = 0;
    for (int with_barrier = accesses_told; with_barrier < 2; with_barrier++) {
        wrong = 0;
        CHECK(launch(stream, opposite_kernel, 1, THREADS, 0, device, with_barrier == 1) == cudaSuccess);
        for (int i = 0; i < THREADS; i++)
            wrong += value_at(i) != (float)(THREADS - 1 - i); /* also NaN */
        CHECK((wrong == 0) == (with_barrier == 1));
    }
    CHECK(launch(stream, early_return_kernel, 1, THREADS, 0, device) == cudaSuccess);
    CHECK(value_at(0) == 1);
    CHECK(launch(stream, shuffle_kernel, 1, THREADS, 0, device) == cudaSuccess);
    CHECK(value_at(5) == 31 * 32 / 2 && value_at(40) == 32 * 32 + 31 * 32 / 2);
    CHECK(value_at(THREADS) == 1 && value_at(THREADS + 31) == 31 && value_at(THREADS + 32) == 33);
    if (accesses_told)
        return;
    CHECK(launch(stream, unwritten_kernel, 1, 2, 16, device) == cudaSuccess);
    CHECK(std::isnan(value_at(0)) && std::isnan(value_at(1)));
}

void test_limits() {
    enum { DEFAULT_BYTES = 49152, MOST_BYTES = 232448 };
    const void *kernel = reinterpret_cast<const void *>(dynamic_kernel);
    CHECK(launch(stream, fill_kernel, 0, 1, 0, device, 1, 1.0f) == cudaErrorInvalidConfiguration);
    CHECK(launch(stream, fill_kernel, 1, 1025, 0, device, 1, 1.0f) == cudaErrorInvalidConfiguration);
    CHECK(launch(stream, fill_kernel, dim3(1, 65536), 1, 0, device, 1, 1.0f) ==
          cudaErrorInvalidConfiguration);
    CHECK(launch(stream, dynamic_kernel, 1, 1, DEFAULT_BYTES + 1, device, 0) == cudaErrorInvalidValue);
    CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, MOST_BYTES + 1) ==
          cudaErrorInvalidValue);
    CHECK(cudaGetLastError() == cudaErrorInvalidValue);
    CHECK(cudaGetLastError() == cudaSuccess);
    CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, MOST_BYTES) ==
          cudaSuccess);
    CHECK(launch(stream, dynamic_kernel, 1, 1, MOST_BYTES, device, MOST_BYTES / 4 - 1) == cudaSuccess);
    CHECK(value_at(0) == 1);
}

/* ---- streams ---- */

/* A page-locked block that is written again before its copy has run shows in the copy. */
void test_early_reuse() {
    host[0] = 1;
    CHECK(cudaMemcpyAsync(device, host, sizeof(float), cudaMemcpyHostToDevice, stream) == cudaSuccess);
    host[0] = 2;
    CHECK(value_at(0) == 2);
    float pageable = 3;
    CHECK(cudaMemcpyAsync(device, &pageable, sizeof pageable, cudaMemcpyHostToDevice, stream) == cudaSuccess);
    pageable = 4;
    CHECK(value_at(0) == 3);
}

/* Work on another stream has run where an event says so, and not where none does. */
void test_events() {
    cudaEvent_t event;
    CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess);
    for (int joined = accesses_told; joined < 2; joined++) {
        CHECK(launch(stream, fill_kernel, 1, THREADS, 0, device, 1, 1.0f) == cudaSuccess);
        CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
        CHECK(launch(other, fill_kernel, 1, THREADS, 0, device, 1, 2.0f) == cudaSuccess);
        CHECK(cudaEventRecord(event, other) == cudaSuccess);
        if (joined)
            CHECK(cudaStreamWaitEvent(stream, event, 0) == cudaSuccess);
        CHECK(value_at(0) == (joined ? 2.0f : 1.0f));
        CHECK(cudaEventQuery(event) == (joined ? cudaSuccess : cudaErrorNotReady));
        CHECK(cudaGetLastError() == (joined ? cudaSuccess : cudaErrorNotReady));
        CHECK(cudaEventSynchronize(event) == cudaSuccess);
        CHECK(cudaEventQuery(event) == cudaSuccess);
    }
    CHECK(cudaEventDestroy(event) == cudaSuccess);
}

/* ---- captures ---- */

void test_graph() {
    cudaEvent_t fork_event, join_event;
    cudaGraph_t graph = NULL;
    cudaGraphExec_t executable = NULL;
    CHECK(cudaEventCreateWithFlags(&fork_event, cudaEventDisableTiming) == cudaSuccess);
    CHECK(cudaEventCreateWithFlags(&join_event, cudaEventDisableTiming) == cudaSuccess);
    CHECK(launch(stream, fill_kernel, 1, THREADS, 0, device, 2, 0.0f) == cudaSuccess);
    CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    CHECK(launch(stream, add_kernel, 1, THREADS, 0, device, 1, 1.0f) == cudaSuccess);
    CHECK(cudaEventRecord(fork_event, stream) == cudaSuccess);
    CHECK(cudaStreamWaitEvent(other, fork_event, 0) == cudaSuccess);
    CHECK(launch(other, add_kernel, 1, THREADS, 0, device + 1, 1, 2.0f) == cudaSuccess);
    CHECK(cudaEventRecord(join_event, other) == cudaSuccess);
    CHECK(cudaStreamWaitEvent(stream, join_event, 0) == cudaSuccess);
    CHECK(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
    CHECK(cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess);
    CHECK(cudaGraphDestroy(graph) == cudaSuccess);
    CHECK(value_at(0) == 0 && value_at(1) == 0);
    for (int i = 0; i < 3; i++)
        CHECK(cudaGraphLaunch(executable, stream) == cudaSuccess);
    CHECK(value_at(0) == 3 && value_at(1) == 6);
    CHECK(cudaEventQuery(join_event) == cudaErrorCapturedEvent);
    CHECK(cudaGetLastError() == cudaErrorCapturedEvent);
    CHECK(cudaGraphExecDestroy(executable) == cudaSuccess);
    CHECK(cudaEventDestroy(fork_event) == cudaSuccess);
    CHECK(cudaEventDestroy(join_event) == cudaSuccess);
}

cudaError_t allocate_in_capture() {
    void *memory;
    return cudaMalloc(&memory, 1);
}
cudaError_t free_in_capture() {
    return cudaFree(device);
}
cudaError_t wait_in_capture() {
    return cudaStreamSynchronize(stream);
}
cudaError_t wait_for_other_in_capture() {
    return cudaStreamSynchronize(other);
}
cudaError_t copy_pageable_in_capture() {
    float value = 0;
    return cudaMemcpyAsync(device, &value, sizeof value, cudaMemcpyHostToDevice, stream);
}

void test_refused() {
    cudaError_t (*const calls[])() = {allocate_in_capture, free_in_capture, wait_in_capture,
                                      wait_for_other_in_capture, copy_pageable_in_capture};
    cudaGraph_t graph = NULL;
    cudaEvent_t event;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
        CHECK(calls[i]() == cudaErrorStreamCaptureUnsupported);
        CHECK(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated);
        CHECK(graph == NULL);
    }
    CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess);
    CHECK(cudaEventRecord(event, other) == cudaSuccess);
    CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    CHECK(cudaStreamWaitEvent(stream, event, 0) == cudaErrorStreamCaptureIsolation);
    CHECK(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated);
    /* a branch that does not come back */
    CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    CHECK(cudaEventRecord(event, stream) == cudaSuccess);
    CHECK(cudaStreamWaitEvent(other, event, 0) == cudaSuccess);
    CHECK(launch(other, fill_kernel, 1, THREADS, 0, device, 1, 1.0f) == cudaSuccess);
    CHECK(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureUnjoined);
    CHECK(cudaEventDestroy(event) == cudaSuccess);
    CHECK(cudaGetLastError() == cudaErrorStreamCaptureUnjoined);
}

} // namespace

int main() {
    test_defects();
    open();
    CHECK(accesses_told || (std::isnan(value_at(0)) && std::isnan(value_at(COUNT - 1))));
    test_threads();
    test_limits();
    test_early_reuse();
    test_events();
    test_graph();
    test_refused();
    close();
    return test_result();
}
