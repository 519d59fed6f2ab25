/* The device of this process, and error checks for CUDA and cuDNN calls. For C and CUDA C++ alike.
 *
 * All work goes to one stream, in order, but for what is queued between cuda_side_begin and cuda_side_end.
 * Kernels of ops only launch: they neither allocate nor synchronise nor copy from host memory, so that a step
 * can be captured into a CUDA graph. */
#ifndef KERNELS_CUDA_CUDA_CONTEXT_H
#define KERNELS_CUDA_CUDA_CONTEXT_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#include "kernels/backend.h"

typedef struct CudaContext {
    cudaStream_t stream;        /* to launch on */
    struct cudnnContext *cudnn; /* a cudnnHandle_t, bound to `stream` */
    struct CudnnPlans *plans;   /* compiled convolutions, cudnn_plans.h */
    int multiprocessors;
    size_t shared_bytes; /* shared memory a block may opt in to (cudaFuncSetAttribute) */
    bool tf32;           /* float convolutions may use TF32 tensor cores (precisions tf32 and bf16) */
} CudaContext;

/* Takes a visible device for this process, creates its streams and cuDNN's handles and puts a line for people
 * into `description` ("NVIDIA H200, CUDA 13.0, cuDNN 9.19, bf16"). STATUS_FAILURE: no such device, or a
 * library refused; nothing is held then. Called by the backend's start and stop only. */
enum { CUDA_DESCRIPTION_BYTES = 320 };
Status cuda_context_start(int device, const char *precision, char description[CUDA_DESCRIPTION_BYTES]);
void cuda_context_stop(void);

/* Whether a device is visible; prints nothing. */
bool cuda_device_visible(void);

/* The backend's `devices`. Takes none of them. */
Status cuda_devices(DeviceIdentity *identities, int *count);

/* The context of this process: valid between the backend's start and stop. Never NULL. */
const CudaContext *cuda_context(void);

/* Zeroed device memory, 256-byte aligned, cleared before this returns; 0 bytes are rounded up. The caller
 * releases it (NULL is fine). Not for `run`. */
Status cuda_allocate(void **memory, size_t bytes);
void cuda_release(void *memory);

/* STATUS_OK, or STATUS_FAILURE "cudaMalloc(...): cudaErrorMemoryAllocation: out of memory". Usable in TRY. */
#define CHECK_CUDA(call) cuda_check((call), #call)
Status cuda_check(cudaError_t error, const char *call);

/* The same for a cudnnStatus_t; the message ends with cuDNN's own last error message. */
#define CHECK_CUDNN(call) cudnn_check((int)(call), #call)
Status cudnn_check(int cudnn_status, const char *call);

/* From begin to end the context's stream and cuDNN handle are those of the side stream; see Backend. */
Status cuda_side_begin(void);
void cuda_side_end(void);
Status cuda_side_join(void);

/* Waits for everything on the stream; reports errors of kernels that ran since. */
Status cuda_synchronize(void);

/* At least `bytes` bytes of device memory for the fused routines (not for ops), 256-byte aligned: contents
 * are undefined; valid until the next call, belong to the context, and grow (then the stream is drained). */
Status cuda_workspace(size_t bytes, void **device);

/* Queues a copy of at most CUDA_STAGE_BYTES from host memory, which may change after the call: it goes
 * through one of CUDA_STAGES page-locked blocks, which it waits for if all are still under way. There are
 * more of them than training queues copies between two looks at the device (three a step, TRAINER_QUEUE
 * steps), so that only those, which give up on a device that hangs, ever wait. */
enum { CUDA_STAGE_BYTES = 1 << 16, CUDA_STAGES = 128 };
Status cuda_copy_staged(void *to, const void *from_host, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
