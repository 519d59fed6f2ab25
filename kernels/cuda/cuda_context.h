/* The device of this process, and error checks for CUDA and cuDNN calls. For C and CUDA C++ alike.
 *
 * All work goes to one stream, in order. Kernels of ops only launch: they neither allocate nor synchronise
 * nor copy from host memory, so that a step can be captured into a CUDA graph. */
#ifndef KERNELS_CUDA_CUDA_CONTEXT_H
#define KERNELS_CUDA_CUDA_CONTEXT_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "core/status.h"

typedef struct CudaContext {
    int device; /* ordinal among the visible devices */
    cudaStream_t stream;
    struct cudnnContext *cudnn; /* a cudnnHandle_t, bound to `stream` */
    int multiprocessors;
    size_t shared_bytes; /* shared memory a block may opt in to (cudaFuncSetAttribute) */
    bool tf32;           /* float convolutions may use TF32 tensor cores (precisions tf32 and bf16) */
} CudaContext;

/* The context of this process: valid between the backend's start and stop. Never NULL. */
const CudaContext *cuda_context(void);

/* STATUS_OK, or STATUS_FAILURE "cudaMalloc(...): cudaErrorMemoryAllocation: out of memory". Usable in TRY. */
#define CHECK_CUDA(call) cuda_check((call), #call)
Status cuda_check(cudaError_t error, const char *call);

/* The same for a cudnnStatus_t; the message ends with cuDNN's own last error message. */
#define CHECK_CUDNN(call) cudnn_check((int)(call), #call)
Status cudnn_check(int cudnn_status, const char *call);

/* After a <<<launch>>>: its launch error, if any, named after `kernel`, and cleared. Does not wait. */
Status cuda_check_launch(const char *kernel);

/* Waits for everything on the stream; reports errors of kernels that ran since. */
Status cuda_synchronize(void);

/* Two blocks of at least `bytes` bytes for the fused routines (not for ops): *device in device memory,
 * 256-byte aligned, and *host in page-locked host memory, for argument tables, partial sums and results.
 * Contents are undefined; both are valid until the next call, belong to the context, and grow (then the
 * stream is drained). The caller drains the stream before it reuses *host. Either pointer may be NULL: not
 * wanted. */
Status cuda_workspace(size_t bytes, void **device, void **host);

#ifdef __cplusplus
}
#endif

#endif
