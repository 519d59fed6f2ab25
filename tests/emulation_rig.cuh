/* What tests of the emulation of CUDA share: two streams, some memory, and defects made on purpose. */
#ifndef TESTS_EMULATION_RIG_CUH
#define TESTS_EMULATION_RIG_CUH

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

namespace {

enum { THREADS = 64, COUNT = 256 };

/* Whether the emulation is told each access. Where another sanitizer takes that place, races must show in
 * results, and memory that was not written as NaN. */
#ifdef __SANITIZE_THREAD__
const bool accesses_told = true;
#else
const bool accesses_told = false;
#endif

__global__ void fill_kernel(float *values, int count, float value) {
    for (int i = (int)threadIdx.x; i < count; i += (int)blockDim.x)
        values[i] = value;
}

__global__ void add_kernel(float *values, int count, float value) {
    for (int i = (int)threadIdx.x; i < count; i += (int)blockDim.x)
        values[i] += value;
}

template <typename... Parameters, typename... Arguments>
cudaError_t launch(cudaStream_t stream, void (*kernel)(Parameters...), dim3 blocks, dim3 threads,
                   size_t shared, Arguments... arguments) {
    cudaLaunchConfig_t config = {};
    config.gridDim = blocks;
    config.blockDim = threads;
    config.dynamicSmemBytes = shared;
    config.stream = stream;
    return cudaLaunchKernelEx(&config, kernel, arguments...);
}

cudaStream_t stream, other;
float *device, *host; /* (COUNT) each; host: page-locked */

void open() {
    CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
    CHECK(cudaStreamCreateWithPriority(&other, cudaStreamNonBlocking, -5) == cudaSuccess);
    CHECK(cudaMalloc((void **)&device, COUNT * sizeof(float)) == cudaSuccess);
    CHECK(cudaMallocHost((void **)&host, COUNT * sizeof(float)) == cudaSuccess);
}

void close() {
    CHECK(cudaFree(device) == cudaSuccess);
    CHECK(cudaFreeHost(host) == cudaSuccess);
    CHECK(cudaStreamDestroy(stream) == cudaSuccess);
    CHECK(cudaStreamDestroy(other) == cudaSuccess);
    CHECK(cudaGetLastError() == cudaSuccess);
}

/* device[index] after all that was queued on `stream`. */
float value_at(int index) {
    float value = 0;
    CHECK(cudaMemcpyAsync(&value, device + index, sizeof value, cudaMemcpyDeviceToHost, stream) ==
          cudaSuccess);
    return value;
}

/* The program must end with the message when the defect is made, in a process of its own. */
void check_ends(const char *name, void (*defect)(), const char *message) {
    char text[1024] = "";
    int ends[2], status = 0;
    size_t length = 0;
    CHECK(pipe(ends) == 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        open();
        defect();
        _exit(0);
    }
    ::close(ends[1]);
    for (ssize_t got; (got = read(ends[0], text + length, sizeof text - 1 - length)) > 0;)
        length += (size_t)got;
    ::close(ends[0]);
    CHECK(waitpid(child, &status, 0) == child);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || !strstr(text, message)) {
        printf("FAILED: %s: expected an end with \"%s\", found status %d, \"%s\"\n", name, message, status,
               text);
        test_failures++;
    }
}

} // namespace

#endif
