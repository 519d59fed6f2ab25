#include "kernels/cuda/cuda_context.h"

#include <cudnn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/cudnn_plans.h"

enum { MESSAGE_BYTES = 512, MIN_CUDNN = 90800 /* descriptions of devices: cudnn_plan.h */ };

/* A stream, and a cuDNN handle bound to it. */
typedef struct Lane {
    cudaStream_t stream;
    struct cudnnContext *cudnn;
} Lane;

/* The device of this process and the memory of cuda_workspace. A process has one, as it has one device. */
typedef struct ContextState {
    CudaContext context; /* its stream and cuDNN handle: one of the lanes' */
    Lane main, side;
    cudaEvent_t forked, joined;
    void *workspace;
    size_t workspace_bytes;
    unsigned char *stages; /* (CUDA_STAGES, CUDA_STAGE_BYTES) page-locked */
    cudaEvent_t staged[CUDA_STAGES];
    int next_stage;
} ContextState;

static ContextState state;

const CudaContext *cuda_context(void) {
    return &state.context;
}

/* ---- errors ---- */

Status cuda_check(cudaError_t error, const char *call) {
    if (error == cudaSuccess)
        return STATUS_OK;
    (void)cudaGetLastError(); /* reported here: not once more by the next launch */
    return status_error(STATUS_FAILURE, "%s: %s: %s", call, cudaGetErrorName(error),
                        cudaGetErrorString(error));
}

Status cudnn_check(int cudnn_status, const char *call) {
    char message[MESSAGE_BYTES] = "";
    if (cudnn_status == CUDNN_STATUS_SUCCESS)
        return STATUS_OK;
    cudnnGetLastErrorString(message, sizeof message);
    for (char *at = message; *at; at++)
        if (*at == '\n' || *at == '\r')
            *at = ' ';
    return status_error(STATUS_FAILURE, "%s: %s: %s", call, cudnnGetErrorString((cudnnStatus_t)cudnn_status),
                        message);
}

Status cuda_synchronize(void) {
    return CHECK_CUDA(cudaStreamSynchronize(state.context.stream));
}

/* ---- streams ---- */

static void use_lane(const Lane *lane) {
    state.context.stream = lane->stream;
    state.context.cudnn = lane->cudnn;
}

Status cuda_side_begin(void) {
    Status status = STATUS_OK;
    TRY(CHECK_CUDA(cudaEventRecord(state.forked, state.main.stream)));
    TRY(CHECK_CUDA(cudaStreamWaitEvent(state.side.stream, state.forked, 0)));
    use_lane(&state.side);
done:
    return status;
}

void cuda_side_end(void) {
    use_lane(&state.main);
}

Status cuda_side_join(void) {
    Status status = STATUS_OK;
    TRY(CHECK_CUDA(cudaEventRecord(state.joined, state.side.stream)));
    TRY(CHECK_CUDA(cudaStreamWaitEvent(state.main.stream, state.joined, 0)));
done:
    return status;
}

/* ---- start and stop ---- */

bool cuda_device_visible(void) {
    int count = 0;
    cudaError_t error = cudaGetDeviceCount(&count);
    (void)cudaGetLastError();
    return error == cudaSuccess && count > 0;
}

Status cuda_devices(DeviceIdentity *identities, int *count) {
    Status status = STATUS_OK;
    struct cudaDeviceProp properties;
    cudaError_t error = cudaGetDeviceCount(count);
    (void)cudaGetLastError();
    if (error != cudaSuccess)
        FAIL(STATUS_FAILURE, "no CUDA device: %s: %s", cudaGetErrorName(error), cudaGetErrorString(error));
    if (*count < 1)
        FAIL(STATUS_FAILURE, "no CUDA device is visible: see nvidia-smi and CUDA_VISIBLE_DEVICES");
    if (*count > BACKEND_MAX_DEVICES)
        *count = BACKEND_MAX_DEVICES;
    for (int device = 0; device < *count; device++) {
        TRY(CHECK_CUDA(cudaGetDeviceProperties(&properties, device)));
        memcpy(identities[device].bytes, properties.uuid.bytes, sizeof identities[device].bytes);
    }
done:
    return status;
}

static void describe(const struct cudaDeviceProp *properties, const char *precision,
                     char description[CUDA_DESCRIPTION_BYTES]) {
    enum { CUDA_MAJOR = 1000, CUDA_MINOR = 10, CUDNN_MAJOR_UNIT = 10000, CUDNN_MINOR_UNIT = 100 };
    int runtime = 0;
    size_t cudnn = cudnnGetVersion();
    (void)cudaRuntimeGetVersion(&runtime);
    snprintf(description, CUDA_DESCRIPTION_BYTES, "%s, CUDA %d.%d, cuDNN %zu.%zu.%zu, %s", properties->name,
             runtime / CUDA_MAJOR, runtime % CUDA_MAJOR / CUDA_MINOR, cudnn / CUDNN_MAJOR_UNIT,
             cudnn % CUDNN_MAJOR_UNIT / CUDNN_MINOR_UNIT, cudnn % CUDNN_MINOR_UNIT, precision);
}

/* The main lane's work, which everything waits for, goes first where both have some. */
static Status create_lanes(void) {
    Status status = STATUS_OK;
    int lowest = 0, highest = 0;
    TRY(CHECK_CUDA(cudaDeviceGetStreamPriorityRange(&lowest, &highest)));
    const int priorities[] = {(lowest + highest) / 2, lowest};
    Lane *lanes[] = {&state.main, &state.side};
    for (int i = 0; i < 2; i++) {
        TRY(CHECK_CUDA(
            cudaStreamCreateWithPriority(&lanes[i]->stream, cudaStreamNonBlocking, priorities[i])));
        TRY(CHECK_CUDNN(cudnnCreate(&lanes[i]->cudnn)));
        TRY(CHECK_CUDNN(cudnnSetStream(lanes[i]->cudnn, lanes[i]->stream)));
    }
    TRY(CHECK_CUDA(cudaEventCreateWithFlags(&state.forked, cudaEventDisableTiming)));
    TRY(CHECK_CUDA(cudaEventCreateWithFlags(&state.joined, cudaEventDisableTiming)));
    use_lane(&state.main);
done:
    return status;
}

static void release_lane(const Lane *lane) {
    if (lane->cudnn)
        (void)cudnnDestroy(lane->cudnn);
    if (lane->stream)
        (void)cudaStreamDestroy(lane->stream);
}

Status cuda_context_start(int device, const char *precision, char description[CUDA_DESCRIPTION_BYTES]) {
    Status status = STATUS_OK;
    CudaContext *context = &state.context;
    struct cudaDeviceProp properties;
    memset(&state, 0, sizeof state);
    TRY(CHECK_CUDA(cudaSetDevice(device)));
    TRY(CHECK_CUDA(cudaGetDeviceProperties(&properties, device)));
    context->multiprocessors = properties.multiProcessorCount;
    context->shared_bytes = properties.sharedMemPerBlockOptin;
    context->tf32 = strcmp(precision, "fp32") != 0;
    if (cudnnGetVersion() < MIN_CUDNN)
        FAIL(STATUS_FAILURE, "cuDNN: expected version %d or later, found %zu", MIN_CUDNN, cudnnGetVersion());
    TRY(create_lanes());
    TRY(CHECK_CUDA(cudaMallocHost((void **)&state.stages, (size_t)CUDA_STAGES * CUDA_STAGE_BYTES)));
    for (int i = 0; i < CUDA_STAGES; i++)
        TRY(CHECK_CUDA(cudaEventCreateWithFlags(&state.staged[i], cudaEventDisableTiming)));
    TRY(cudnn_plans_open(&context->plans, context->cudnn, properties.name));
    describe(&properties, precision, description);
done:
    if (status != STATUS_OK)
        cuda_context_stop();
    return status;
}

void cuda_context_stop(void) {
    CudaContext *context = &state.context;
    cudnn_plans_close(context->plans);
    cuda_release(state.workspace);
    for (int i = 0; i < CUDA_STAGES; i++)
        if (state.staged[i])
            (void)cudaEventDestroy(state.staged[i]);
    if (state.stages)
        (void)cudaFreeHost(state.stages);
    if (state.forked)
        (void)cudaEventDestroy(state.forked);
    if (state.joined)
        (void)cudaEventDestroy(state.joined);
    release_lane(&state.side);
    release_lane(&state.main);
    memset(&state, 0, sizeof state);
}

/* ---- memory ---- */

Status cuda_allocate(void **memory, size_t bytes) {
    Status status = STATUS_OK;
    cudaError_t error;
    if (bytes == 0)
        bytes = 1;
    *memory = NULL;
    error = cudaMalloc(memory, bytes);
    (void)cudaGetLastError();
    if (error != cudaSuccess)
        FAIL(STATUS_FAILURE, "out of device memory: %zu bytes asked for: %s", bytes,
             cudaGetErrorString(error));
    TRY(CHECK_CUDA(cudaMemsetAsync(*memory, 0, bytes, state.context.stream)));
    TRY(cuda_synchronize());
done:
    if (status != STATUS_OK) {
        cuda_release(*memory);
        *memory = NULL;
    }
    return status;
}

void cuda_release(void *memory) {
    if (memory)
        (void)cudaFree(memory);
}

Status cuda_workspace(size_t bytes, void **device) {
    Status status = STATUS_OK;
    enum { MIN_BYTES = 1 << 20 };
    if (bytes > state.workspace_bytes) {
        size_t rounded = bytes < MIN_BYTES ? MIN_BYTES : bytes;
        TRY(cuda_synchronize());
        cuda_release(state.workspace);
        state.workspace = NULL;
        state.workspace_bytes = 0;
        TRY(cuda_allocate(&state.workspace, rounded));
        state.workspace_bytes = rounded;
    }
    *device = state.workspace;
done:
    return status;
}

Status cuda_copy_staged(void *to, const void *from_host, size_t bytes) {
    Status status = STATUS_OK;
    int i = state.next_stage;
    unsigned char *stage = state.stages + (size_t)i * CUDA_STAGE_BYTES;
    state.next_stage = (i + 1) % CUDA_STAGES;
    TRY(CHECK_CUDA(cudaEventSynchronize(state.staged[i]))); /* done at once for a block not used yet */
    memcpy(stage, from_host, bytes);
    TRY(CHECK_CUDA(cudaMemcpyAsync(to, stage, bytes, cudaMemcpyHostToDevice, state.context.stream)));
    TRY(CHECK_CUDA(cudaEventRecord(state.staged[i], state.context.stream)));
done:
    return status;
}
