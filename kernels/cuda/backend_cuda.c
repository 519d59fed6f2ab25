/* The CUDA backend: which kernel runs which op, and device memory. One device per process. */
#include "kernels/cuda/cuda_context.h"
#include "kernels/cuda/kernels_cuda.h"

static const OpKernel *const kernels[] = {
    &kernel_cuda_time_embedding,
    &kernel_cuda_linear,
    &kernel_cuda_linear_backward_data,
    &kernel_cuda_linear_backward_parameters,
    &kernel_cuda_silu,
    &kernel_cuda_silu_backward,
    &kernel_cudnn_conv2d,
    &kernel_cudnn_conv2d_backward_data,
    &kernel_cudnn_conv2d_backward_parameters,
    &kernel_cudnn_conv_transpose2d,
    &kernel_cudnn_conv_transpose2d_backward_data,
    &kernel_cudnn_conv_transpose2d_backward_parameters,
    &kernel_cuda_group_norm,
    &kernel_cuda_group_norm_backward,
    &kernel_cuda_add,
    &kernel_cuda_concat,
    NULL,
};

static char description[CUDA_DESCRIPTION_BYTES] = "CUDA, not started";

static Status start(const BackendPlace *place) {
    return cuda_context_start(place->device, place->precision, description);
}

/* All launches go to one stream, or one beside it. */
static int max_workers(void) {
    return 1;
}

/* Between host and device: complete on return, and after everything launched before. */
static Status copy_and_wait(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    Status status = STATUS_OK;
    TRY(CHECK_CUDA(cudaMemcpyAsync(to, from, bytes, kind, cuda_context()->stream)));
    TRY(cuda_synchronize());
done:
    return status;
}

/* Small blocks, such as what a step needs to know, are not waited for. */
static Status copy_in(void *to, const void *from_host, size_t bytes) {
    if (bytes == 0)
        return STATUS_OK;
    return bytes <= CUDA_STAGE_BYTES ? cuda_copy_staged(to, from_host, bytes)
                                     : copy_and_wait(to, from_host, bytes, cudaMemcpyHostToDevice);
}

static Status copy_out(void *to_host, const void *from, size_t bytes) {
    return bytes > 0 ? copy_and_wait(to_host, from, bytes, cudaMemcpyDeviceToHost) : STATUS_OK;
}

static Status copy(void *to, const void *from, size_t bytes) {
    if (bytes == 0)
        return STATUS_OK;
    return CHECK_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, cuda_context()->stream));
}

static Status clear(void *memory, size_t bytes) {
    if (bytes == 0)
        return STATUS_OK;
    return CHECK_CUDA(cudaMemsetAsync(memory, 0, bytes, cuda_context()->stream));
}

static void *stream(void) {
    return cuda_context()->stream;
}

/* ---- recordings: CUDA graphs ---- */

/* Other threads, such as the one that writes checkpoints, are not watched. */
static Status record_begin(void) {
    return CHECK_CUDA(cudaStreamBeginCapture(cuda_context()->stream, cudaStreamCaptureModeThreadLocal));
}

static Status record_end(void **recording) {
    Status status = STATUS_OK;
    cudaGraph_t graph = NULL;
    cudaGraphExec_t executable = NULL;
    *recording = NULL;
    TRY(CHECK_CUDA(cudaStreamEndCapture(cuda_context()->stream, &graph)));
    /* the sums over ranks keep the priority of their stream */
    TRY(CHECK_CUDA(cudaGraphInstantiate(&executable, graph, cudaGraphInstantiateFlagUseNodePriority)));
    *recording = executable;
done:
    if (graph)
        (void)cudaGraphDestroy(graph);
    return status;
}

static Status replay(void *recording) {
    return CHECK_CUDA(cudaGraphLaunch((cudaGraphExec_t)recording, cuda_context()->stream));
}

static void recording_release(void *recording) {
    if (recording)
        (void)cudaGraphExecDestroy((cudaGraphExec_t)recording);
}

static const Backend backend = {
    .name = "cuda",
    .description = description,
    .precisions = "bf16 fp32 tf32",
    .devices = cuda_devices,
    .start = start,
    .stop = cuda_context_stop,
    .is_available = cuda_device_visible,
    .max_workers = max_workers,
    .stream = stream,
    .synchronise = cuda_synchronize,
    .record_begin = record_begin,
    .record_end = record_end,
    .replay = replay,
    .recording_release = recording_release,
    .side_begin = cuda_side_begin,
    .side_end = cuda_side_end,
    .side_join = cuda_side_join,
    .kernels = kernels,
    .host_memory = false,
    .allocate = cuda_allocate,
    .release = cuda_release,
    .copy_in_at_once = CUDA_STAGE_BYTES,
    .copy_in = copy_in,
    .copy_out = copy_out,
    .copy = copy,
    .clear = clear,
    .lay_out = cuda_lay_out,
    .gather = cuda_gather,
    .noise = cuda_noise,
    .loss = cuda_loss,
    .accumulate = cuda_accumulate,
    .collect = cuda_collect,
    .piece_elements = CUDA_PIECE_ELEMENTS,
    .narrow = cuda_narrow,
    .finish_gradient = cuda_finish_gradient,
    .plan_update = cuda_plan_update,
    .adamw = cuda_adamw,
    .residual = cuda_residual,
    .reverse = cuda_reverse,
};

const Backend *backend_cuda(void) {
    return &backend;
}
